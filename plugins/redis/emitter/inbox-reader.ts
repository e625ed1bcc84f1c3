import { messagesInFrame } from '../../../lib/index.ts'
import type { InboxEntry, InboxFrame } from '../../../lib/index.ts'
import type { Link } from '../link/link.ts'
import { decodeEntries, type StreamEntry, type StreamListener } from './stream-reader.ts'

/** Who is told of a node's inbox. */
export interface InboxEvents {
  received (entry: InboxEntry): void
  /** Redis has gone back to a state before what was read: nothing of what this node knows can be relied on. */
  lost (): void
}

/** Tells a node what the others send it. */
export class InboxListener implements StreamListener {
  readonly #generation: number
  readonly #events: InboxEvents
  #position = 0

  constructor (generation: number, events: InboxEvents) {
    this.#generation = generation
    this.#events = events
  }

  read (entries: readonly StreamEntry[]): void {
    for (const entry of entries.map(decodeInboxEntry)) {
      if (entry.position <= this.#position) continue // told before something went wrong
      this.#position = entry.position
      this.#events.received(entry)
    }
  }

  async checked (_: number, link: Link): Promise<number> {
    const end = Number(await link.command('HGET', 'inp', this.#generation) ?? 0)
    if (end < this.#position) this.#events.lost()
    return this.#position
  }
}

/** Entries of the inbox of a node that is gone which come from one answer. */
const pageEntries = 32

/** Frames in an inbox, from a position on, by pages. */
export async function * framesFrom (link: Link, generation: number, first: number): AsyncGenerator<InboxFrame> {
  const taken = await takenIn(link, generation)
  for (let from = first; ;) {
    const page = decodeEntries(await link.command('XRANGE', `in:${generation}`, `${from}-0`, '+', 'COUNT', pageEntries))
    for (const entry of page.map(decodeInboxEntry)) if (entry.kind === 'frame') yield { ...entry, taken: taken.get(entry.position) ?? none }
    const last = page.at(-1)
    if (last === undefined) return
    from = last.position + 1
  }
}

const none: ReadonlySet<number> = new Set()

/** Places of messages that were handed on, by the position of their frame. */
async function takenIn (link: Link, generation: number): Promise<Map<number, Set<number>>> {
  const taken = new Map<number, Set<number>>()
  for (const origin of (await link.command('ZRANGE', `tk:${generation}`, 0, -1) as Buffer[]).map(Number)) {
    const position = Math.floor(origin / messagesInFrame)
    const places = taken.get(position) ?? new Set()
    taken.set(position, places.add(origin % messagesInFrame))
  }
  return taken
}

function decodeInboxEntry ({ position, fields: [name, value, , session, , logPosition] }: StreamEntry): InboxEntry {
  if (name?.toString() === 'f') return { kind: 'frame', position, bytes: value as Buffer }
  return { kind: 'evicted', position, clientIdentifier: String(value), session: Number(session), logPosition: Number(logPosition) }
}
