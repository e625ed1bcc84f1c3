import type { Clock } from '../../lib/index.ts'

/** Told when a service is given up, and when it is there again. */
export interface BreakerListener {
  opened (): void
  closed (): void
}

/**
 * Spares a service that fails: after failures in a row of so many askers nobody is let through for a while, then one question each of a few to try. The
 * first that succeeds lets all go on. Askers are counted, not failures: one whose questions fail, because of what it asks, must not shut out the others.
 */
export class CircuitBreaker {
  readonly #maximumFailures: number
  readonly #openMs: number
  readonly #listener: BreakerListener
  /** Whose questions have failed since one succeeded. */
  readonly #failing = new Set<string | symbol>()
  /** Who has been let through to try. */
  readonly #trying = new Set<string>()
  #openUntil: number | undefined

  constructor (maximumFailures: number, openMs: number, listener: BreakerListener) {
    this.#maximumFailures = maximumFailures
    this.#openMs = openMs
    this.#listener = listener
  }

  /** Whether a request may be made now. Who was let through has to tell how it ended. */
  admits (asker: string, clock: Clock): boolean {
    if (this.#openUntil === undefined) return true
    if (clock.now() < this.#openUntil || this.#trying.has(asker) || this.#trying.size >= this.#maximumFailures) return false
    this.#trying.add(asker)
    return true
  }

  succeeded (asker: string): void {
    if (this.#openUntil === undefined) this.#failing.clear()
    else if (this.#trying.has(asker)) this.#close()
  }

  /** @param isUnreachable nothing was asked yet, so that the asker has no part in it: that counts each time */
  failed (asker: string, isUnreachable: boolean, clock: Clock): void {
    const isTry = this.#trying.delete(asker)
    if (this.#openUntil !== undefined && !isTry) return // sent before it opened
    this.#failing.add(isUnreachable ? Symbol('unreachable') : asker)
    if (this.#failing.size >= this.#maximumFailures) this.#open(clock)
  }

  #open (clock: Clock): void {
    const wasOpen = this.#openUntil !== undefined
    this.#openUntil = clock.now() + this.#openMs
    this.#failing.clear()
    this.#trying.clear()
    if (!wasOpen) this.#listener.opened()
  }

  #close (): void {
    this.#openUntil = undefined
    this.#failing.clear()
    this.#trying.clear()
    this.#listener.closed()
  }
}
