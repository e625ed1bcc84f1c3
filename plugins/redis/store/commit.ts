import { CommitRefused, storeFailed, storeFull } from '../../../lib/index.ts'
import type {
  Changes, ClusterChanges, DeliveryRecord, Enqueued, MessageCodec, MqttError, ReceivedChange, SessionRecord, SubscriptionChange,
} from '../../../lib/index.ts'
import type { Argument } from '../link/link.ts'
import { retainedBucket } from '../link/layout.ts'
import { encodeDelivery, encodeInFlight, encodeOptions, encodeRecord, inline } from './records.ts'

/** Fields and values, or members, of one command: Lua cannot take more than some thousand at once. */
const mostFields = 2_000
/** Redis takes no more arguments than 1,048,576. */
const mostArguments = 1_000_000

/** What a commit does with one Session's queue. */
interface QueueChanges {
  /** Positions and deliveries in turns. */
  readonly queued: Argument[]
  /** Positions and how far they were sent, in turns. */
  readonly inFlight: Argument[]
  readonly removed: Argument[]
  /** Position after the last one that was queued; 0 for none. */
  end: number
  /** Position after the last one that was sent; 0 for none. */
  sent: number
  origin: number
}

/** Turns the broker's changes into the arguments of the commit script. Everything is encoded here, so what cannot be is found before anything is written. */
export class CommitEncoder {
  readonly #codec: MessageCodec
  readonly #newReference: () => number
  readonly #sessions = new Set<number>()
  readonly #queues = new Map<number, QueueChanges>()
  /** What has to come before and after the queues' changes. */
  readonly #first: Argument[] = []
  readonly #last: Argument[] = []
  #isGrowing = false

  /** @param newReference the number of a new body */
  constructor (codec: MessageCodec, newReference: () => number) {
    this.#codec = codec
    this.#newReference = newReference
  }

  /**
   * Undefined when there is nothing to write.
   * @param note what to write besides
   */
  encode (changes: Changes, note: readonly Argument[]): Argument[] | undefined {
    this.#first.push(...note)
    for (const [session, record] of changes.sessions) if (record !== undefined) this.#put(session, record)
    for (const enqueued of changes.enqueued) this.#enqueue(enqueued)
    for (const delivery of changes.sent) this.#send(delivery)
    for (const delivery of changes.removed) this.#remove(delivery)
    for (const change of changes.subscriptions) this.#subscribe(change, changes)
    for (const change of changes.received) this.#receive(change, changes)
    for (const [session, record] of changes.sessions) if (record === undefined) this.#last.push('end', this.#touched(session))
    for (const [topicName, message] of changes.retained) this.#retain(topicName, message)
    const { cluster } = changes
    if (cluster !== undefined) this.#tell(cluster)
    if (cluster !== undefined && cluster.taken.length > 0) this.#last.push('take', cluster.taken.length, ...cluster.taken.map(String))
    return this.#finish(cluster)
  }

  #finish (cluster: ClusterChanges | undefined): Argument[] | undefined {
    const begun = cluster?.begun ?? []
    const begins = begun.flatMap(({ session }) => ['begin', String(session)])
    const releases = (cluster?.released ?? []).flatMap(({ session, clientIdentifier }) => ['release', String(session), clientIdentifier]) // a Session may begin, be stored and end in one commit
    const writes = [...begins, ...this.#first, ...releases]
    for (const [session, queue] of this.#queues) encodeQueue(writes, session, queue)
    for (const arg of this.#last) writes.push(arg)
    if (writes.length === 0 && cluster === undefined) return undefined // a node may only want to know where the log ends
    const [moves, publishers] = [cluster?.moves ?? '', cluster?.publishers ?? []]
    const args = [
      this.#isGrowing ? '1' : '0', moves, begun.length, ...begun.flatMap(({ session, clientIdentifier }) => [String(session), clientIdentifier]),
      this.#sessions.size, ...[...this.#sessions].map(String), publishers.length, ...publishers.map(String), ...writes,
    ]
    if (args.length > mostArguments) throw storeFailed(`a commit of ${args.length} parts is more than Redis takes at once`)
    return args
  }

  #touched (session: number): string {
    this.#sessions.add(session)
    return String(session)
  }

  #put (session: number, record: SessionRecord): void {
    this.#first.push('put', this.#touched(session), record.clientIdentifier, encodeRecord(record), record.hasEnded === true ? '1' : '0')
  }

  /** A message for one Session stands in its queue; one for several stands by itself, once. */
  #enqueue ({ message, deliveries }: Enqueued): void {
    if (deliveries.length === 0) return
    this.#isGrowing = true
    const body = deliveries.length === 1 ? inline : this.#newReference()
    if (body !== inline) this.#first.push('HSET', `b:${body}`, 4, 'm', this.#codec.encode(message), 'c', deliveries.length)
    for (const delivery of deliveries) {
      const queue = this.#queueOf(delivery.session)
      queue.queued.push(String(delivery.position), encodeDelivery(delivery, body, this.#codec))
      queue.end = Math.max(queue.end, delivery.position + 1)
      queue.origin = Math.max(queue.origin, message.origin)
      if (delivery.packetIdentifier !== 0) this.#send(delivery)
      delivery.reference = body
    }
  }

  #send (delivery: DeliveryRecord): void {
    const queue = this.#queueOf(delivery.session)
    queue.inFlight.push(String(delivery.position), encodeInFlight(delivery))
    if (!delivery.isReleased) queue.sent = Math.max(queue.sent, delivery.position + 1)
  }

  #remove ({ session, position, reference }: DeliveryRecord): void {
    const queue = this.#queueOf(session)
    if (reference === inline) queue.removed.push(String(position))
    else this.#last.push('unshare', String(session), String(position), reference === 0 ? '' : String(reference))
  }

  #queueOf (session: number): QueueChanges {
    let queue = this.#queues.get(session)
    if (queue === undefined) {
      this.#touched(session)
      this.#queues.set(session, queue = { queued: [], inFlight: [], removed: [], end: 0, sent: 0, origin: 0 })
    }
    return queue
  }

  #subscribe ({ session, topicFilter, subscription }: SubscriptionChange, changes: Changes): void {
    if (isRemoved(session, changes)) return
    const key = `f:${this.#touched(session)}`
    if (subscription === undefined) this.#last.push('HDEL', key, 1, topicFilter)
    else this.#last.push('HSET', key, 2, topicFilter, encodeOptions(subscription))
  }

  #receive ({ session, packetIdentifier, isInUse }: ReceivedChange, changes: Changes): void {
    if (!isRemoved(session, changes)) this.#last.push(isInUse ? 'SADD' : 'SREM', `r:${this.#touched(session)}`, 1, packetIdentifier)
  }

  #retain (topicName: string, message: Enqueued['message'] | undefined): void {
    const bucket = retainedBucket(topicName)
    if (message === undefined) {
      this.#last.push('unretain', bucket, topicName)
      return
    }
    this.#isGrowing = true
    this.#last.push('retain', bucket, topicName, this.#codec.encode(message), message.expiresAt === Infinity ? '' : message.expiresAt)
  }

  #tell ({ routes, sends, settled, handedOn, presence, expired, recovered }: ClusterChanges): void {
    const fields = [...routes].flatMap(([topicFilter, count]) => [topicFilter, count ?? ''])
    for (const [length, page] of pagesOf(fields)) this.#last.push('routes', length, ...page)
    for (const { generation, bytes } of sends) this.#last.push('send', generation, bytes)
    if (sends.length > 0) this.#isGrowing = true
    if (settled > 0) this.#last.push('settle', settled)
    for (const [generation, position] of handedOn) this.#last.push('hand', generation, position)
    for (const [clientIdentifier, isOnline] of presence) this.#last.push(isOnline ? 'online' : 'offline', clientIdentifier)
    for (const [topicName, expiresAt] of expired) this.#last.push('expire', retainedBucket(topicName), topicName, expiresAt)
    for (const session of recovered) this.#last.push('recover', this.#touched(session))
  }
}

/** Adds it to `args`. */
function encodeQueue (args: Argument[], session: number, { queued, inFlight, removed, end, sent, origin }: QueueChanges): void {
  const number = String(session)
  for (const [length, page] of pagesOf(queued)) args.push('HSET', `q:${number}`, length, ...page)
  for (const [length, page] of pagesOf(inFlight)) args.push('HSET', `i:${number}`, length, ...page)
  if (end + sent > 0) args.push('reach', number, end === 0 ? '' : end, sent === 0 ? '' : sent, origin === 0 ? '' : origin)
  for (const [length, page] of pagesOf(removed)) args.push('remove', number, length, ...page)
}

/** `values` in parts that one command can take, with their lengths. */
function * pagesOf (values: readonly Argument[]): Generator<[length: number, page: readonly Argument[]]> {
  if (values.length <= mostFields) {
    if (values.length > 0) yield [values.length, values]
    return
  }
  for (let start = 0; start < values.length; start += mostFields) {
    const page = values.slice(start, start + mostFields)
    yield [page.length, page]
  }
}

function isRemoved (session: number, { sessions }: Changes): boolean {
  return sessions.has(session) && sessions.get(session) === undefined
}

/** What the script has answered. */
export interface CommitAnswer {
  readonly logEnd: number
  /** Why nothing was written; undefined when everything was. */
  readonly error: MqttError | undefined
  /** Bytes that wait in the inboxes that were written to, by generation. */
  readonly backlogs: ReadonlyMap<number, number>
}

export function readAnswer (answer: unknown): CommitAnswer {
  const [status, logEnd, detail] = answer as [status: Buffer, logEnd: number, detail: Buffer]
  const numbers = detail.length === 0 ? [] : detail.toString().trim().split(' ').map(Number)
  const isWritten = status.toString() === 'ok'
  return { logEnd, error: isWritten ? undefined : errorOf(status.toString(), numbers), backlogs: new Map(isWritten ? pairsOf(numbers) : []) }
}

function errorOf (status: string, [moves = 0, ...fenced]: readonly number[]): MqttError {
  if (status === 'refused') return new CommitRefused(fenced, moves)
  return storeFull('Redis has no memory left for what was to be stored; raise its maxmemory, it goes on by itself')
}

function pairsOf (numbers: readonly number[]): [number, number][] {
  const pairs: [number, number][] = []
  for (let i = 0; i + 1 < numbers.length; i += 2) pairs.push([numbers[i] as number, numbers[i + 1] as number])
  return pairs
}
