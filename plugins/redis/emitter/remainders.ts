import { messagesInFrame } from '../../../lib/index.ts'
import type { Remainder } from '../../../lib/index.ts'
import type { Link } from '../link/link.ts'
import { decodeEntries, positionOf } from './stream-reader.ts'

/** A part of an inbox, see fragments/take.lua.ts. */
interface Stretch {
  readonly generation: number
  readonly position: number
  /** Messages at the beginning of the first frame that the Session has. */
  readonly skip: number
  readonly last: number
}

interface Inbox {
  /** By position. */
  readonly frames: Map<number, Buffer>
  /** Positions of the first and last entry of the part that is known. */
  first: number
  last: number
}

/** Entries of one answer. */
const pageEntries = 64

/** What was read of the inboxes of other nodes, to hand it to the Sessions that come from there. */
export class Remainders {
  readonly #inboxes = new Map<number, Inbox>()

  /** Which part of which inbox is known, as scripts want it. */
  get text (): string {
    return [...this.#inboxes].map(([generation, { first, last }]) => `${generation},${first},${last}`).join(';')
  }

  /** Reads beforehand what is too much for the answer of a script. */
  async read (link: Link, text: string): Promise<void> {
    for (const { generation, position, last } of decodeStretches(text)) {
      const inbox = this.#inboxFrom(generation, position)
      while (inbox.last < last) {
        const page = decodeEntries(await link.command('XRANGE', `in:${generation}`, `${inbox.last + 1}-0`, `${last}-0`, 'COUNT', pageEntries))
        for (const { position: at, fields: [name, bytes] } of page) if (String(name) === 'f') inbox.frames.set(at, bytes as Buffer)
        inbox.last = page.at(-1)?.position ?? last
      }
    }
  }

  /** What a script has answered with, as generation, id and bytes in turns: with it all that is in those stretches is known. */
  add (text: string, frames: readonly Buffer[]): void {
    for (const { generation, position, last } of decodeStretches(text)) {
      const inbox = this.#inboxFrom(generation, position)
      inbox.last = Math.max(inbox.last, last)
    }
    for (let i = 0; i + 2 < frames.length; i += 3) {
      const [generation, id, bytes] = frames.slice(i, i + 3) as [Buffer, Buffer, Buffer]
      this.#inboxes.get(Number(generation))?.frames.set(positionOf(id), bytes)
    }
  }

  /** What is in those stretches, oldest first. */
  of (text: string): Remainder[] {
    return decodeStretches(text).flatMap(({ generation, position, skip, last }) => {
      const frames = [...this.#inboxes.get(generation)?.frames ?? []]
      return frames.filter(([at]) => at >= position && at <= last).sort(([a], [b]) => a - b)
        .map(([at, bytes]) => ({ bytes, skip: at === position ? skip : 0 }))
    })
  }

  /** What is known of it begins no later than there. */
  #inboxFrom (generation: number, first: number): Inbox {
    const known = this.#inboxes.get(generation)
    if (known !== undefined && known.first <= first) return known
    const inbox: Inbox = { frames: known?.frames ?? new Map<number, Buffer>(), first, last: first - 1 }
    this.#inboxes.set(generation, inbox)
    return inbox
  }
}

function decodeStretches (text: string): Stretch[] {
  if (text === '') return []
  return text.split(';').map(stretch => {
    const [generation = 0, position = 0, skip = 0, last = 0] = stretch.split(',').map(Number)
    return { generation, position, skip: skip % messagesInFrame, last }
  })
}
