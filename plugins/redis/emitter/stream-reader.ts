import { closed } from '../link/errors.ts'
import { Link } from '../link/link.ts'
import type { Settings } from '../link/options.ts'

export interface StreamEntry {
  readonly position: number
  /** Names and values in turns. */
  readonly fields: readonly Buffer[]
}

/** Who is told of what a stream has. */
export interface StreamListener {
  /** Entries that follow each other, in order, each once. The next ones come when it has settled. */
  read (entries: readonly StreamEntry[], link: Link): Promise<void> | void
  /** The connection was lost, and is there again: Redis may have gone back to an earlier state. @returns the position to go on after */
  checked (position: number, link: Link): Promise<number>
}

/** Entries that one answer has, at most. */
const pageEntries = 64

/**
 * Follows a stream over a connection of its own, on which it waits for what comes. It goes on after the last entry that it has passed on, however often the connection is
 * lost.
 */
export class StreamReader {
  readonly link: Link
  readonly #key: string
  readonly #listener: StreamListener
  readonly #blockMs: number
  #position = 0
  #isClosed = false
  #wake: (() => void) | undefined = undefined
  #lose: ((error: Error) => void) | undefined = undefined

  constructor (settings: Settings, key: string, listener: StreamListener) {
    this.link = new Link(settings)
    this.#key = key
    this.#listener = listener
    this.#blockMs = Math.ceil(Math.max(settings.leaseMs, 2_000) / 4)
    this.link.watch({ lost: error => { this.#lose?.(error ?? closed()) }, ready: () => { this.#wake?.() } })
  }

  /** Begins with what comes after that position. @throws MqttError when Redis cannot be reached */
  async start (position: number): Promise<void> {
    this.#position = position
    await this.link.open()
    void this.#follow()
  }

  close (): void {
    this.#isClosed = true
    this.link.close()
    this.#lose?.(closed())
    this.#wake?.()
  }

  async #follow (): Promise<void> {
    for (let failures = 0; !this.#isClosed;) {
      try {
        if (failures > 0) this.#position = await this.#listener.checked(this.#position, this.link)
        await this.#pass(await this.#next())
        failures = 0
      } catch {
        await this.#pause(failures++)
      }
    }
  }

  /** What was asked over a connection that is lost is never answered. */
  #next (): Promise<StreamEntry[]> {
    const key = this.link.root + this.#key
    return new Promise((resolve, reject) => {
      this.#lose = reject
      this.link.connection.callBuffer('XREAD', ['COUNT', pageEntries, 'BLOCK', this.#blockMs, 'STREAMS', key, `${this.#position}-0`])
        .then(reply => { resolve(reply === null ? [] : decodeEntries(entriesOfFirst(reply))) }, reject)
    })
  }

  async #pass (entries: readonly StreamEntry[]): Promise<void> {
    const last = entries.at(-1)
    if (last === undefined || this.#isClosed) return
    await this.#listener.read(entries, this.link)
    this.#position = last.position
  }

  #pause (failures: number): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve
      if (this.link.isReady || this.#isClosed) this.link.later(failures, resolve)
      if (this.#isClosed) resolve()
    })
  }
}

/** RESP 2 answers [[key, entries]], RESP 3 [key, entries]. */
function entriesOfFirst (reply: unknown): unknown {
  const [first, second] = reply as readonly unknown[]
  return Array.isArray(first) ? (first as readonly unknown[])[1] : second
}

/** What XRANGE answers. */
export function decodeEntries (reply: unknown): StreamEntry[] {
  return (reply as readonly (readonly [Buffer, readonly Buffer[]])[]).map(([id, fields]) => ({ position: positionOf(id), fields }))
}

/** Of an id, `<position>-0`. */
export function positionOf (id: Buffer): number {
  return Number.parseInt(id.toString('latin1'), 10)
}
