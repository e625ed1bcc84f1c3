import type { RangeOptions } from 'lmdb'
import type { ClaimedSession, DeliveryRecord, Message, MessageCodec, QueueState, SessionRecord, StoredSession, Subscription } from '../../lib/index.ts'
import { storeFailed } from '../../lib/index.ts'
import type { Environment } from './environment.ts'
import { bytesOf, numberKey, numberOf, packetIdentifierOf, positionKey, positionOf, type Table, type Tables } from './layout.ts'
import { decodeDelivery, decodeDeliveryHeader, decodeInFlight, decodeJson, inline, type InFlightRecord } from './records.ts'

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
    for (const [position, record] of inFlightFrom(this.#tables, session, 0)) {
      const stored = this.#tables.deliveries.getBinary(positionKey(session, position))
      if (stored !== undefined) inFlight.push(this.#decode(stored, session, position, record))
    }
    return { inFlight, received: [...this.#tables.received.getKeys(rangeOf(session))].map(packetIdentifierOf) }
  }

  fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): DeliveryRecord[] {
    const page: DeliveryRecord[] = []
    const inFlight = inFlightFrom(this.#tables, session, position, maximumMessages)
    let bytes = 0
    for (const { key, value } of this.#tables.deliveries.getRange({ ...rangeOf(session, position), limit: maximumMessages })) {
      const at = positionOf(key)
      bytes += decodeDeliveryHeader(value).size
      if (page.length > 0 && bytes > maximumBytes) break
      page.push(this.#decode(value, session, at, inFlight.get(at)))
    }
    return page
  }

  #subscriptions (session: number): Subscription[] {
    return [...this.#tables.subscriptions.getRange(rangeOf(session))].map(({ value }) => decodeJson(value) as Subscription)
  }

  #decode (stored: Buffer, session: number, position: number, inFlight: InFlightRecord | undefined): DeliveryRecord {
    return decodeDelivery(stored, { session, position, inFlight }, (reference, start) =>
      reference === inline ? this.#codec.decode(stored, start) : this.#codec.decode(this.#body(reference)))
  }

  #body (reference: number): Buffer {
    const body = this.#tables.bodies.getBinary(numberKey(reference))
    if (body === undefined) throw storeFailed(`a stored message is missing (body ${reference})`)
    return body
  }
}

interface Entry {
  readonly key: Buffer
  readonly value: Buffer
}

/** Every entry, by pages: between two of them nothing of the table is held, and others have their turn. */
async function * entriesOf (table: () => Table): AsyncGenerator<Entry> {
  for (let start = Buffer.of(0), entries: Entry[] = []; ; start = Buffer.concat([entries.at(-1)?.key ?? start, Buffer.of(0)])) {
    entries = [...table().getRange({ start, limit: pageEntries })].map(({ key, value }) => ({ key: bytesOf(key), value }))
    yield * entries
    if (entries.length < pageEntries) return
    await new Promise(resolve => { setImmediate(resolve) })
  }
}

function rangeOf (session: number, position = 0): { start: Buffer, end: Buffer } {
  return { start: positionKey(session, position), end: numberKey(session + 1) }
}

function inFlightFrom ({ inFlight }: Tables, session: number, position: number, limit = Infinity): Map<number, InFlightRecord> {
  const records = new Map<number, InFlightRecord>()
  const range = inFlight.getRange(limit === Infinity ? rangeOf(session, position) : { ...rangeOf(session, position), limit })
  for (const { key, value } of range) records.set(positionOf(key), decodeInFlight(value))
  return records
}

/** Three entries tell how long a queue is: the last in flight, the first that waits, the last of all. */
function queueOf ({ deliveries, inFlight }: Tables, session: number): QueueState {
  const last = firstIn(deliveries, lastOf(session))
  if (last === undefined) return { first: 0, end: 0, bytes: 0, total: 0 }
  const [sent] = inFlight.getKeys({ ...lastOf(session), limit: 1 })
  const waiting = firstIn(deliveries, rangeOf(session, sent === undefined ? 0 : positionOf(sent) + 1))
  const bytes = waiting === undefined ? 0 : last.total - waiting.total + waiting.size
  return { first: waiting?.position ?? last.position + 1, end: last.position + 1, bytes, total: last.total }
}

function firstIn (deliveries: Table, range: RangeOptions): { position: number, total: number, size: number } | undefined {
  for (const { key, value } of deliveries.getRange({ ...range, limit: 1 })) return { position: positionOf(key), ...decodeDeliveryHeader(value) }
  return undefined
}

function lastOf (session: number): { start: Buffer, end: Buffer, reverse: true } {
  return { start: numberKey(session + 1), end: numberKey(session), reverse: true }
}
