import type { ClaimedSession, DeliveryRecord, Message, MessageCodec, SessionRecord, StoredSession, Subscription } from '../../lib/index.ts'
import { storeFailed } from '../../lib/index.ts'
import type { Environment } from './environment.ts'
import { numberKey, numberOf, packetIdentifierOf, type Entry, type Table, type Tables } from './layout.ts'
import { queueOf, segmentsFrom } from './queue-reads.ts'
import { decodeDelivery, decodeDeliveryHeader, decodeJson, inline } from './records.ts'
import type { Segment } from './segments.ts'

/** Entries that are read at once when a whole table is: what is held, and how long nothing else runs. */
const pageEntries = 256

/** Reads what is stored, as it was after the last commit. */
export class Reader {
  readonly #environment: Environment
  readonly #codec: MessageCodec

  constructor (environment: Environment, codec: MessageCodec) {
    this.#environment = environment
    this.#codec = codec
  }

  get #tables (): Tables { return this.#environment.tables }

  async * sessions (): AsyncGenerator<StoredSession> {
    for await (const { key, value } of entriesOf(() => this.#tables.sessions)) {
      const number = numberOf(key)
      yield {
        number, record: decodeJson(value) as SessionRecord, subscriptions: this.#subscriptions(number), queue: queueOf(this.#tables, number),
      }
    }
  }

  async * retained (): AsyncGenerator<Message> {
    for await (const { value } of entriesOf(() => this.#tables.retained)) yield this.#codec.decode(value)
  }

  claim (session: number): ClaimedSession {
    const inFlight: DeliveryRecord[] = []
    const { first } = queueOf(this.#tables, session)
    for (const segment of segmentsFrom(this.#tables, session, 0)) {
      if (segment.first >= first) break
      for (const index of segment.indexesFrom(0)) if (segment.packetIdentifierOf(index) !== 0) inFlight.push(this.#decode(segment, index))
    }
    return { inFlight, received: [...this.#tables.received.getKeys(rangeOf(session))].map(packetIdentifierOf) }
  }

  fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): DeliveryRecord[] {
    const page: DeliveryRecord[] = []
    let bytes = 0
    for (const segment of segmentsFrom(this.#tables, session, position)) {
      for (const index of segment.indexesFrom(position)) {
        bytes += decodeDeliveryHeader(segment.bytes, segment.startOf(index)).size
        if (page.length === maximumMessages || (page.length > 0 && bytes > maximumBytes)) return page
        page.push(this.#decode(segment, index))
      }
    }
    return page
  }

  #subscriptions (session: number): Subscription[] {
    return [...this.#tables.subscriptions.getRange(rangeOf(session))].map(({ value }) => decodeJson(value) as Subscription)
  }

  #decode (segment: Segment, index: number): DeliveryRecord {
    const { session, bytes } = segment
    const state = { session, position: segment.positionAt(index), packetIdentifier: segment.packetIdentifierOf(index), isReleased: segment.isReleased(index) }
    return decodeDelivery(bytes, segment.startOf(index), state, (reference, at) =>
      reference === inline ? this.#codec.read(bytes, at, segment.endOf(index)) : this.#codec.decode(this.#body(reference)))
  }

  #body (reference: number): Buffer {
    const body = this.#tables.bodies.getBinary(numberKey(reference))
    if (body === undefined) throw storeFailed(`a stored message is missing (body ${reference})`)
    return body
  }
}

/** Every entry, by pages: between two of them nothing of the table is held, and others have their turn. */
async function * entriesOf (table: () => Table): AsyncGenerator<Entry> {
  for (let start = Buffer.of(0), entries: Entry[] = []; ; start = Buffer.concat([entries.at(-1)?.key ?? start, Buffer.of(0)])) {
    entries = [...table().getRange({ start, limit: pageEntries })]
    yield * entries
    if (entries.length < pageEntries) return
    await new Promise(resolve => { setImmediate(resolve) })
  }
}

function rangeOf (session: number): { start: Buffer, end: Buffer } {
  return { start: numberKey(session), end: numberKey(session + 1) }
}
