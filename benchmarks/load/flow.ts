import type { Connection } from './connection.ts'
import { publishFrame } from './wire/frames.ts'
import { pause, reached, type Load } from './load.ts'
import { openAll } from './open.ts'
import { Publisher, type Flow, type FrameSource } from './publisher.ts'
import { Subscriber } from './subscriber.ts'

/** Topic Aliases that a subscriber allows. */
const subscriberAliases = 10

/** Publishers and subscribers, connected and ready. */
export interface Parties {
  readonly flow: Flow
  readonly publishers: readonly Publisher[]
  readonly subscribers: readonly Subscriber[]
  /** Whether each subscriber gets all that its publishers send. */
  readonly isOrdered: boolean
}

export interface PartyFields {
  readonly fan: number
  readonly limit?: number
  readonly isOrdered?: boolean
  readonly retain?: boolean
  /** The Topic Name of each publisher, or of each of its messages. */
  readonly publishers: readonly (string | ((sequence: number) => string))[]
  /** The Topic Filter of each subscriber. */
  readonly subscribers: readonly string[]
}

/** Connects the subscribers, then the publishers; nothing flows yet. */
export async function assemble (load: Load, fields: PartyFields): Promise<Parties> {
  const flow: Flow = { isRunning: false, fan: fields.fan, limit: fields.limit ?? Infinity }
  const publishers: Publisher[] = []
  const isOrdered = fields.isOrdered ?? true
  const subscribers = fields.subscribers.map(() => new Subscriber(load, publishers, isOrdered))
  const topicAliasMaximum = load.options.aliases ? subscriberAliases : 0
  const { persistent, port, subscriberPort } = load.options
  const place = { cleanStart: !persistent, port: subscriberPort === 0 ? port : subscriberPort }
  const receiving = await openAll(load, subscribers.map((role, i) => ({ clientIdentifier: `bench-s${i}`, role, topicAliasMaximum, ...place })))
  await Promise.all(receiving.map((connection, i) => join(connection, subscribers[i], fields.subscribers[i] ?? '', load.options.qos)))
  const sending = await openAll(load, fields.publishers.map((_, i) => ({ clientIdentifier: `bench-p${i}` })))
  sending.forEach((connection, i) => publishers.push(publisherOn(load, flow, connection, i, fields)))
  return { flow, publishers, subscribers, isOrdered }
}

async function join (connection: Connection, subscriber: Subscriber | undefined, topicFilter: string, qos: number): Promise<void> {
  if (subscriber !== undefined) subscriber.connection = connection
  await connection.subscribe([topicFilter], qos)
}

function publisherOn (load: Load, flow: Flow, connection: Connection, index: number, { publishers, retain = false }: PartyFields): Publisher {
  const topic = publishers[index] ?? ''
  const frames = typeof topic === 'string' ? fixedFrames(load, connection, topic, retain) : changingFrames(load, topic, retain)
  const publisher = new Publisher(load, flow, index, frames)
  publisher.connection = connection
  connection.role = publisher
  return publisher
}

/** One frame for all messages; with Topic Aliases, one for the first and a shorter one for the others. */
function fixedFrames ({ options }: Load, connection: Connection, topicName: string, retain: boolean): FrameSource {
  const topicAlias = options.aliases && connection.topicAliasMaximum > 0 ? 1 : 0
  const first = publishFrame({ ...options, topicName, retain, topicAlias })
  const later = topicAlias === 0 ? first : publishFrame({ ...options, topicName: '', retain, topicAlias })
  return sequence => sequence === 0 ? first : later
}

function changingFrames ({ options }: Load, topicOf: (sequence: number) => string, retain: boolean): FrameSource {
  return sequence => publishFrame({ ...options, topicName: topicOf(sequence), retain, topicAlias: 0 })
}

/** Lets the messages flow. @returns the way to stop */
export function start (load: Load, { flow, publishers }: Parties): () => void {
  flow.isRunning = true
  for (const publisher of publishers) publisher.wake()
  const stops = [watch(load, flow, publishers), ...load.options.rate > 0 ? [pace(load, publishers)] : []]
  return () => {
    flow.isRunning = false
    for (const stop of stops) stop()
  }
}

/** QoS 0 messages may be dropped; a flow that waits for them for a second goes on without. */
function watch ({ totals, options }: Load, { fan }: Flow, publishers: readonly Publisher[]): () => void {
  let last = -1
  const timer = setInterval(() => {
    if (options.qos === 0 && options.rate === 0 && fan > 0 && totals.received === last) {
      totals.stalls++
      for (const publisher of publishers) publisher.forget()
    }
    last = totals.received
  }, 1000)
  return () => { clearInterval(timer) }
}

/** Sends at a fixed rate, whatever comes back: what is due at each tick of a millisecond, publisher after publisher. */
function pace ({ options }: Load, publishers: readonly Publisher[]): () => void {
  const began = performance.now()
  let sent = 0
  const timer = setInterval(() => {
    const due = Math.floor((performance.now() - began) / 1000 * options.rate)
    for (; sent < due; sent++) publishers[sent % publishers.length]?.sendOne()
  }, 1)
  return () => { clearInterval(timer) }
}

/** After the stop: waits for what is under way and counts what never comes. */
export async function settle (load: Load, parties: Parties): Promise<void> {
  const { totals, options } = load
  const sent = parties.publishers.reduce((sum, publisher) => sum + publisher.sent, 0)
  const wanted = sent * parties.flow.fan
  await reached(() => totals.received + totals.lost, wanted, 2)
  if (options.qos > 0 && !await reached(() => totals.acknowledged, sent, 2)) totals.fail('not every message was acknowledged')
  await pause(0.1) // duplicates would come late
  totals.lost += parties.isOrdered ? missing(parties) : Math.max(0, wanted - totals.received)
}

/** What each subscriber still expects: every publisher's messages go to all subscribers, or each one's to its own. */
function missing ({ publishers, subscribers, flow: { fan } }: Parties): number {
  let count = 0
  publishers.forEach(({ sent, index }, i) => {
    const audience = publishers.length === subscribers.length ? subscribers.slice(i, i + 1) : subscribers
    for (const subscriber of audience) count += fan === 0 ? 0 : sent - subscriber.expectedOf(index)
  })
  return count
}
