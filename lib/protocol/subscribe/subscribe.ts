import { ErrorCode, MqttError, protocolError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { MaybePromise } from '../../contract/hooks.ts'
import type { Subscription, SubscriptionOptions } from '../../contract/subscription.ts'
import { checkSubscribePatch } from '../../hooks/answers.ts'
import { isReasonCodeOf } from '../../packet/packet-reason-codes.ts'
import { PacketType, type SubscribePacket, type SubscriptionRequest } from '../../packet/packets.ts'
import { checkTopicFilter, parseTopicFilter, type ParsedTopicFilter } from '../../topic/topic-filter.ts'
import type { Client } from '../client/client.ts'
import { toMqttError } from '../client/failure.ts'

/** One Topic Filter of a SUBSCRIBE: what it asks for, and then what became of it. */
class Grant implements Subscription {
  readonly topicFilter: string
  readonly qos: Subscription['qos']
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly retainHandling: Subscription['retainHandling']
  readonly subscriptionIdentifier: number
  readonly parsed: ParsedTopicFilter
  isNew = false

  constructor (parsed: ParsedTopicFilter, request: SubscriptionRequest, subscriptionIdentifier: number) {
    this.topicFilter = request.topicFilter
    this.qos = request.qos
    this.noLocal = request.noLocal
    this.retainAsPublished = request.retainAsPublished
    this.retainHandling = request.retainHandling
    this.subscriptionIdentifier = subscriptionIdentifier
    this.parsed = parsed
  }
}

/** A {@link Grant}, or the Reason Code that refuses it. */
type Decision = Grant | ReasonCode

/** SUBSCRIBE (section 3.8): decides about each filter, then makes all subscriptions, stores them, SUBACK, and retained messages last. */
export function handleSubscribe (client: Client, packet: SubscribePacket): Promise<void> | undefined {
  const subscriptionIdentifier = packet.properties?.subscriptionIdentifiers?.[0] ?? 0
  const { revalidations } = client.services
  const parsed = packet.subscriptions.map(request => parse(client, request)) // all of them, before any hook is asked
  const decisions = packet.subscriptions.map((request, i) => decide(client, request, parsed[i] as ParsedTopicFilter | MqttError, subscriptionIdentifier))
  if (!decisions.every(isSettled)) return subscribeLater(client, packet, decisions, revalidations)
  return subscribe(client, packet, decisions)
}

async function subscribeLater (client: Client, packet: SubscribePacket, decisions: readonly MaybePromise<Decision>[], asOf: number): Promise<void> {
  const settled = await Promise.all(decisions.map(async decision => decision))
  if (client.phase !== 'connected') return
  if (client.services.revalidations === asOf) await subscribe(client, packet, settled)
  else await handleSubscribe(client, packet) // rights have changed meanwhile
}

function isSettled (decision: MaybePromise<Decision>): decision is Decision {
  return !(decision instanceof Promise)
}

function decide (client: Client, request: SubscriptionRequest, parsed: ParsedTopicFilter | MqttError, subscriptionIdentifier: number): MaybePromise<Decision> {
  if (parsed instanceof MqttError) return parsed.reasonCode
  const grant = new Grant(parsed, request, subscriptionIdentifier)
  const { hooks } = client.services
  if (hooks.chains.authorizeSubscribe === undefined) return change(client, grant)
  const verdict = hooks.authorize('authorizeSubscribe', { client, topicFilter: grant.topicFilter, subscription: grant, isRestored: false })
  const next = (reasonCode: ReasonCode): MaybePromise<Decision> => reasonCode === ReasonCode.success ? change(client, grant) : denied(client, grant, reasonCode)
  return verdict instanceof Promise ? verdict.then(next) : next(verdict)
}

/** No hook is told: whoever wonders why a Client gets nothing looks here. */
function denied ({ services, clientIdentifier, username }: Client, { topicFilter }: Grant, reasonCode: ReasonCode): ReasonCode {
  services.metrics.subscriptionsDenied++
  services.logger.debug({ clientIdentifier, username, topicFilter, reasonCode }, 'a subscription was not allowed')
  return reasonCode
}

/**
 * A filter over our limits fails alone, in its place of the SUBACK: 0x8F there is for those that are well formed (section 3.9.3).
 * @throws MqttError for one that is not, which ends the connection (section 4.13)
 */
function parse (client: Client, { topicFilter, noLocal }: SubscriptionRequest): ParsedTopicFilter | MqttError {
  try {
    const parsed = parseTopicFilter(topicFilter, client.services.limits)
    if (noLocal && parsed.shareName !== undefined) throw protocolError('No Local on a Shared Subscription [MQTT-3.8.3-4]')
    return parsed
  } catch (error) {
    checkTopicFilter(topicFilter)
    if (error instanceof MqttError && error.code === ErrorCode.topicFilterInvalid) return error
    throw error
  }
}

function change (client: Client, grant: Grant): MaybePromise<Decision> {
  const { hooks } = client.services
  if (hooks.chains.onSubscribe === undefined) return grant
  const refusal = (): Decision => ReasonCode.implementationSpecificError // the hook runner has reported it
  try {
    const changed = hooks.patch('onSubscribe', grant, current => ({ client, subscription: current }), patched)
    return changed instanceof Promise ? changed.catch(refusal) : changed
  } catch {
    return refusal()
  }
}

function patched (grant: Grant, patch: Partial<SubscriptionOptions>): Grant {
  checkSubscribePatch(patch)
  const { topicFilter, qos, noLocal, retainAsPublished, retainHandling } = grant
  const request = { qos, noLocal, retainAsPublished, retainHandling, ...patch, topicFilter }
  return new Grant(grant.parsed, request, patch.subscriptionIdentifier ?? grant.subscriptionIdentifier)
}

function subscribe (client: Client, packet: SubscribePacket, decisions: readonly Decision[]): Promise<void> | undefined {
  const reasonCodes = decisions.map(decision => answerable(client, typeof decision === 'number' ? decision : make(client, decision)))
  if (client.services.cluster !== undefined || client.session?.isDurable === true) return subscribeOnceStored(client, packet, decisions, reasonCodes)
  acknowledge(client, packet, decisions, reasonCodes)
  return undefined
}

/** SUBACK promises that the subscriptions outlive the broker, and that every node knows of them: those that cannot be stored are taken back. */
async function subscribeOnceStored (client: Client, packet: SubscribePacket, decisions: readonly Decision[], reasonCodes: readonly ReasonCode[]): Promise<void> {
  const { cluster, journal } = client.services
  const refusal = await (cluster?.routed() ?? journal?.written())?.catch((error: unknown) => toMqttError(error).reasonCode)
  if (client.phase !== 'connected') return
  if (typeof refusal !== 'number') acknowledge(client, packet, decisions, reasonCodes)
  else acknowledge(client, packet, decisions, decisions.map((decision, i) => takeBack(client, decision, reasonCodes[i] as ReasonCode, refusal)))
}

function takeBack (client: Client, decision: Decision, reasonCode: ReasonCode, refusal: ReasonCode): ReasonCode {
  if (typeof decision === 'number' || reasonCode >= ReasonCode.unspecifiedError) return reasonCode
  const { router, hooks } = client.services
  if (decision.isNew && router.unsubscribe(client.ownSession, decision.topicFilter)) hooks.notify('unsubscribed', { client, topicFilter: decision.topicFilter })
  return answerable(client, refusal)
}

function acknowledge (client: Client, { packetIdentifier }: SubscribePacket, decisions: readonly Decision[], reasonCodes: readonly ReasonCode[]): void {
  client.sink.send({ type: PacketType.suback, packetIdentifier, reasonCodes, properties: undefined }) // [MQTT-3.8.4-6]
  const { router, clock } = client.services
  for (let i = 0; i < decisions.length; i++) {
    const grant = decisions[i]
    if (grant instanceof Grant && (reasonCodes[i] as number) < ReasonCode.unspecifiedError) router.replayRetained(client.ownSession, grant.parsed, grant, grant.isNew, clock.now())
  }
}

/** Makes one subscription; returns the QoS that was granted, or why there was none. */
function make (client: Client, grant: Grant): ReasonCode {
  const { router, limits, hooks } = client.services
  const session = client.ownSession
  if (client.phase !== 'connected') return ReasonCode.unspecifiedError // an observer of the filter before ended the connection
  if (session.subscriptions.size >= limits.maximumSubscriptions && !session.subscriptions.has(grant.topicFilter)) return ReasonCode.quotaExceeded
  grant.isNew = router.subscribe(session, grant.parsed, grant.topicFilter, grant)
  if (hooks.chains.subscribed !== undefined) hooks.notify('subscribed', { client, subscription: grant })
  return grant.qos
}

/** MQTT 3.1 cannot refuse a subscription: it is acknowledged, and nothing comes. */
function answerable (client: Client, decided: ReasonCode): ReasonCode {
  const reasonCode = isReasonCodeOf(PacketType.suback, decided) ? decided : ReasonCode.notAuthorized // [MQTT-3.9.3-2]
  return client.protocolVersion === 3 && reasonCode >= ReasonCode.unspecifiedError ? ReasonCode.success : reasonCode
}
