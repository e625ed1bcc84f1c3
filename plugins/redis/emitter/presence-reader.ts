import type { PresenceEvent } from '../../../lib/index.ts'
import type { RedisStore } from '../store/redis-store.ts'
import { StreamReader, type StreamEntry, type StreamListener } from './stream-reader.ts'

/** Events that wait for who is slow; older ones are dropped. */
const mostWaiting = 10_000

class PresenceListener implements StreamListener {
  readonly events: PresenceEvent[] = []
  wake: () => void = () => undefined
  #position: number

  constructor (position: number) { this.#position = position }

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
  const stop = (): void => { listener.wake() }
  signal.addEventListener('abort', stop)
  try {
    await reader.start(position)
    while (!signal.aborted) {
      yield * listener.events.splice(0)
      await new Promise<void>(resolve => {
        listener.wake = resolve
        if (signal.aborted || listener.events.length > 0) resolve()
      })
    }
  } finally {
    signal.removeEventListener('abort', stop)
    reader.close()
  }
}
