import { isUtf8 } from 'node:buffer'
import stringify from 'fast-json-stable-stringify'
import type { DeliveryRecord, Message, MessageProperties, Store, StoreState } from '../../../lib/index.ts'
import { harmless, timeOf } from './format.ts'
import { queueOf, retainedOf, sessionsOf, waitingCount, type OpenedSession } from './reading.ts'

// Equal records are equal lines: keys have one order.
function lineOf (type: string, fields: object): string {
  return harmless(stringify({ type, ...fields }))
}

/** Text where it is text, else base64. */
function payloadFields (payload: Buffer): object {
  return isUtf8(payload) ? { payload: payload.toString() } : { payloadBase64: payload.toString('base64') }
}

function propertiesOf (properties: MessageProperties | undefined): object | undefined {
  return properties && Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, Buffer.isBuffer(value) ? value.toString('base64') : value as unknown]))
}

function messageFields ({ topicName, payload, qos, publisher, expiresAt, properties }: Message): object {
  return { topicName, qos, publisher, expiresAt: timeOf(expiresAt), properties: propertiesOf(properties), size: payload.length, ...payloadFields(payload) }
}

function sessionLine (session: OpenedSession): string {
  const { number, record, subscriptions, queue, inFlight, received } = session
  return lineOf('session', {
    ...record,
    session: number,
    expiresAt: timeOf(record.expiresAt),
    willDueAt: timeOf(record.willDueAt),
    subscriptions: subscriptions.length,
    inFlight: inFlight.length,
    waiting: waitingCount(session),
    waitingBytes: queue.bytes,
    received,
  })
}

function deliveryLine (clientIdentifier: string, delivery: DeliveryRecord): string {
  const { session, position, message, qos, retain, packetIdentifier, isReleased, subscriptionIdentifiers, sharedFilter } = delivery
  const isInFlight = packetIdentifier > 0
  return lineOf('message', {
    clientIdentifier, session, position, ...messageFields(message), qos, retain, subscriptionIdentifiers, sharedFilter,
    ...isInFlight ? { packetIdentifier, isReleased } : {},
  })
}

async function * sessionLines (store: Store, clientIdentifier: string | undefined, limit: number): AsyncGenerator<string> {
  for await (const session of sessionsOf(store, clientIdentifier)) {
    const { number, record, subscriptions } = session
    yield sessionLine(session)
    for (const subscription of subscriptions) yield lineOf('subscription', { clientIdentifier: record.clientIdentifier, session: number, ...subscription })
    for await (const delivery of queueOf(store, session, limit)) yield deliveryLine(record.clientIdentifier, delivery)
  }
}

async function * retainedLines (store: Store, limit: number): AsyncGenerator<string> {
  for await (const message of retainedOf(store, limit)) yield lineOf('retained', messageFields(message))
}

/** What is to be shown. */
export interface Selection {
  readonly session?: string | undefined
  readonly retained?: boolean | undefined
  /** Of each queue, and of retained messages. */
  readonly limit: number
}

/** A JSON object for each thing that is kept: everything, or what was asked for. */
export async function * jsonLines (store: Store, state: StoreState, { session, retained = false, limit }: Selection): AsyncGenerator<string> {
  const isAll = session === undefined && !retained
  if (isAll) yield lineOf('store', { aliveAt: timeOf(state.aliveAt) })
  if (isAll || session !== undefined) yield * sessionLines(store, session, limit)
  if (isAll || retained) yield * retainedLines(store, limit)
}
