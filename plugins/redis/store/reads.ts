import { storeFailed } from '../../../lib/index.ts'
import type { ClaimedSession, DeliveryRecord, Message, MessageCodec, StoredSession } from '../../../lib/index.ts'
import { retainedBuckets } from '../link/layout.ts'
import type { Link } from '../link/link.ts'
import { decodeDelivery, decodeRecord, decodeSubscriptions, inline } from './records.ts'
import { claimScript, fetchScript, sessionsScript } from '../scripts/reads.lua.ts'

/** What one script call returns at most, so that others have their turn. */
const mostMessages = 128
const mostBytes = 1_048_576
/** Entries of a set or hash that one SCAN looks at, about. */
const scanCount = 100

/** Reads what commits have written. Nothing here depends on who owns a Session. */
export class Reader {
  readonly #link: Link
  readonly #codec: MessageCodec

  constructor (link: Link, codec: MessageCodec) {
    this.#link = link
    this.#codec = codec
  }

  /** Sessions of a generation. */
  async * sessions (generation: number): AsyncGenerator<StoredSession> {
    const seen = new Set<string>() // SSCAN may come by twice
    for await (const members of this.#scan('SSCAN', `own:${generation}`)) {
      const numbers = members.map(String).filter(number => !seen.has(number))
      for (const number of numbers) seen.add(number)
      for (let i = 0; i < numbers.length; i += scanCount) {
        const reply = await this.#link.call(sessionsScript, ...numbers.slice(i, i + scanCount))
        for (const session of reply as SessionReply[]) yield decodeSession(session)
      }
    }
  }

  async * retained (): AsyncGenerator<Message> {
    for (let bucket = 0; bucket < retainedBuckets; bucket++) {
      const seen = new Set<string>()
      for await (const fields of this.#scan('HSCAN', `ret:${bucket}`)) {
        for (let i = 0; i + 1 < fields.length; i += 2) {
          const topicName = String(fields[i])
          if (!seen.has(topicName)) yield this.#codec.decode(fields[i + 1] as Buffer)
          seen.add(topicName)
        }
      }
    }
  }

  async claim (session: number): Promise<ClaimedSession> {
    const inFlight: DeliveryRecord[] = []
    for (let position = '0'; ;) {
      const [next, received, ...entries] = await this.#link.call(claimScript, session, position) as [Buffer, Buffer[], ...Buffer[]]
      inFlight.push(...this.#decode(session, entries))
      position = next.toString()
      if (position === '') return { inFlight, received: received.map(Number) }
    }
  }

  async fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): Promise<DeliveryRecord[]> {
    const page: DeliveryRecord[] = []
    let [next, bytes, isFull] = [String(position), maximumBytes, false]
    while (next !== '' && !isFull && page.length < maximumMessages) {
      const reply = await this.#link.call(fetchScript, session, next, Math.min(maximumMessages - page.length, mostMessages), Math.min(bytes, mostBytes))
      const [on, ...entries] = reply as [Buffer, ...Buffer[]]
      next = on.toString().replace('full ', '')
      isFull = bytes <= mostBytes && on.length > next.length
      for (const delivery of this.#decode(session, entries)) {
        bytes -= delivery.message.size
        if (bytes < 0 && page.length > 0) return page // the first one of each call comes, however large it is
        page.push(delivery)
      }
    }
    return page
  }

  async * #scan (command: 'SSCAN' | 'HSCAN', key: string): AsyncGenerator<Buffer[]> {
    let cursor = '0'
    do {
      const [next, found] = await this.#link.command(command, key, cursor, 'COUNT', scanCount) as [Buffer, Buffer[]]
      yield found
      cursor = next.toString()
    } while (cursor !== '0')
  }

  * #decode (session: number, entries: readonly Buffer[]): Generator<DeliveryRecord> {
    const bodies = new Map<number, Message>()
    for (let i = 0; i + 3 < entries.length; i += 4) {
      const [position, packed, inFlight, body] = entries.slice(i, i + 4) as [Buffer, Buffer, Buffer, Buffer]
      yield decodeDelivery({ session, position: Number(position), packed, inFlight: inFlight.toString() }, (reference, start) =>
        reference === inline ? this.#codec.decode(packed, start) : this.#body(reference, body, bodies))
    }
  }

  /** Deliveries of a page that share a message go on doing so. */
  #body (reference: number, body: Buffer, bodies: Map<number, Message>): Message {
    let message = bodies.get(reference)
    if (message === undefined) {
      if (body.length === 0) throw storeFailed(`a stored message is missing (body ${reference})`)
      bodies.set(reference, message = this.#codec.decode(body))
    }
    return message
  }
}

/** What {@link sessionsScript} returns of a Session. */
type SessionReply = [number: Buffer, record: Buffer, first: Buffer, end: Buffer, bytes: Buffer, total: Buffer, subscriptions: Buffer[]]

export function decodeSession ([number, record, first, end, bytes, total, subscriptions]: SessionReply): StoredSession {
  return {
    number: Number(number), record: decodeRecord(record), subscriptions: decodeSubscriptions(subscriptions),
    queue: { first: Number(first), end: Number(end), bytes: Number(bytes), total: Number(total) },
  }
}
