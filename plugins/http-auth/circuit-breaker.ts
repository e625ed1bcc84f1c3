import type { Clock } from '../../lib/index.ts'

/** Told when a service is given up, and when it is there again. */
export interface BreakerListener {
  opened (): void
  closed (): void
}

/**
 * Spares a service that fails: after so many failures in a row nobody is let through for a while, then one to try. If that one succeeds, all may go on.
 */
export class CircuitBreaker {
  readonly #maximumFailures: number
  readonly #openMs: number
  readonly #listener: BreakerListener
  #failures = 0
  #openUntil: number | undefined
  #isProbing = false

  constructor (maximumFailures: number, openMs: number, listener: BreakerListener) {
    this.#maximumFailures = maximumFailures
    this.#openMs = openMs
    this.#listener = listener
  }

  /** Whether a request may be made now. Who was let through has to tell how it ended. */
  admits (clock: Clock): boolean {
    if (this.#openUntil === undefined) return true
    if (this.#isProbing || clock.now() < this.#openUntil) return false
    this.#isProbing = true
    return true
  }

  succeeded (): void {
    if (this.#openUntil !== undefined && this.#isProbing) this.#close()
    if (this.#openUntil === undefined) this.#failures = 0
  }

  failed (clock: Clock): void {
    this.#failures++
    if (this.#failures < this.#maximumFailures) return
    const wasOpen = this.#openUntil !== undefined
    if (wasOpen && !this.#isProbing) return // sent before it opened
    this.#openUntil = clock.now() + this.#openMs
    this.#isProbing = false
    if (!wasOpen) this.#listener.opened()
  }

  #close (): void {
    this.#openUntil = undefined
    this.#isProbing = false
    this.#listener.closed()
  }
}
