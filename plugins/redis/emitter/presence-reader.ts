import type { PresenceEvent } from '../../../lib/index.ts'
import type { RedisStore } from '../store/redis-store.ts'
import { StreamReader, type StreamEntry, type StreamListener } from './stream-reader.ts'

/** Events that wait for who is slow; older ones are dropped. */
const mostWaiting = 10_000

class PresenceListener implements StreamListener {
  readonly events: PresenceEvent[] = []
  #position: number
  #resolve: () => void = () => undefined

  constructor (position: number) { this.#position = position }

  /** Ends the wait for events. */
  readonly wake = (): void => { this.#resolve() }

  /** Resolves when there are events, or the signal is aborted. */
  some (signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      this.#resolve = resolve
      if (signal.aborted || this.events.length > 0) resolve()
    })
  }

  read (entries: readonly StreamEntry[]): void {
    for (const { position, fields } of entries) {
      if (position <= this.#position) continue
      this.#position = position
      const [, client, , generation, , isOnline] = fields
      this.events.push({ clientIdentifier: String(client), isOnline: String(isOnline) === '1', generation: Number(generation) })
    }
    if (this.events.length > mostWaiting) this.events.splice(0, this.events.length - mostWaiting)
    this.wake()
  }

  checked (): Promise<number> { return Promise.resolve(this.#position) }
}

/** Who comes online and goes offline from now on, over a connection of its own, until the signal is aborted. */
export async function * presenceFrom (store: RedisStore, signal: AbortSignal): AsyncGenerator<PresenceEvent> {
  const position = Number(await store.link.command('HGET', 'n', 'presence') ?? 0)
  const listener = new PresenceListener(position)
  const reader = new StreamReader(store.settings, 'pr', listener)
  signal.addEventListener('abort', listener.wake)
  try {
    await reader.start(position)
    yield * eventsOf(listener, signal)
  } finally {
    signal.removeEventListener('abort', listener.wake)
    reader.close()
  }
}

async function * eventsOf (listener: PresenceListener, signal: AbortSignal): AsyncGenerator<PresenceEvent> {
  while (!signal.aborted) {
    yield * listener.events.splice(0)
    await listener.some(signal)
  }
}
