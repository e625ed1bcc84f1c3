import { ErrorCode, MqttError, protocolError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { MaybePromise } from '../contract/hooks.ts'
import type { Subscription, SubscriptionOptions } from '../contract/subscription.ts'
import { PacketType, type SubscribePacket, type SubscriptionRequest } from '../packet/packets.ts'
import { parseTopicFilter, type ParsedTopicFilter } from '../topic/topic-filter.ts'
import type { Client } from './client.ts'

/** One Topic Filter of a SUBSCRIBE and what became of it. */
interface Grant {
  readonly reasonCode: ReasonCode
  readonly parsed?: ParsedTopicFilter
  readonly subscription?: Subscription
}

/** SUBSCRIBE (section 3.8): decides about each filter, then makes all subscriptions, SUBACK, and retained messages last. */
export function handleSubscribe (client: Client, packet: SubscribePacket): Promise<void> | undefined {
  const subscriptionIdentifier = packet.properties?.subscriptionIdentifiers?.[0] ?? 0
  const grants = packet.subscriptions.map(request => decide(client, { ...request, subscriptionIdentifier }))
  if (grants.every(isSettled)) subscribe(client, packet, grants)
  else return Promise.all(grants.map(async grant => grant)).then(all => { subscribe(client, packet, all) })
  return undefined
}

function isSettled (grant: MaybePromise<Grant>): grant is Grant {
  return !(grant instanceof Promise)
}

function decide (client: Client, request: SubscriptionRequest & Subscription): MaybePromise<Grant> {
  const parsed = parse(client, request)
  if (parsed instanceof MqttError) return { reasonCode: parsed.reasonCode }
  const { hooks } = client.services
  if (hooks.chains.authorizeSubscribe === undefined) return change(client, parsed, request)
  const verdict = hooks.authorize('authorizeSubscribe', { client, topicFilter: request.topicFilter, subscription: request, isRestored: false })
  const next = (reasonCode: ReasonCode): MaybePromise<Grant> => reasonCode === ReasonCode.success ? change(client, parsed, request) : { reasonCode }
  return verdict instanceof Promise ? verdict.then(next) : next(verdict)
}

/** A filter that is not well formed fails alone, in its place of the SUBACK. */
function parse (client: Client, { topicFilter, noLocal }: Subscription): ParsedTopicFilter | MqttError {
  try {
    const parsed = parseTopicFilter(topicFilter, client.services.limits)
    if (noLocal && parsed.shareName !== undefined) throw protocolError('No Local on a Shared Subscription [MQTT-3.8.3-4]')
    return parsed
  } catch (error) {
    if (error instanceof MqttError && error.code === ErrorCode.topicFilterInvalid) return error
    throw error
  }
}

function change (client: Client, parsed: ParsedTopicFilter, subscription: Subscription): MaybePromise<Grant> {
  const { hooks } = client.services
  const grant = (changed: Subscription): Grant => ({ reasonCode: changed.qos, parsed, subscription: changed })
  const refusal = (): Grant => ({ reasonCode: ReasonCode.implementationSpecificError })
  if (hooks.chains.onSubscribe === undefined) return grant(subscription)
  try {
    const changed = hooks.patch('onSubscribe', subscription, current => ({ client, subscription: current }),
      (current, patch) => ({ ...current, ...patch, topicFilter: current.topicFilter }))
    return changed instanceof Promise ? changed.then(grant, refusal) : grant(changed)
  } catch {
    return refusal() // the hook runner has reported it
  }
}

function subscribe (client: Client, { packetIdentifier }: SubscribePacket, grants: readonly Grant[]): void {
  if (client.phase !== 'connected') return
  const made = grants.map(grant => make(client, grant))
  const reasonCodes = made.map(({ reasonCode }) => answerable(client, reasonCode))
  client.sink.send({ type: PacketType.suback, packetIdentifier, reasonCodes, properties: undefined }) // [MQTT-3.8.4-6]
  for (const { replay } of made) replay?.()
}

/** Makes one subscription; its retained messages are for after the SUBACK. */
function make (client: Client, { reasonCode, parsed, subscription }: Grant): { reasonCode: ReasonCode, replay?: () => void } {
  if (parsed === undefined || subscription === undefined) return { reasonCode }
  const { router, limits, clock, hooks } = client.services
  const session = client.ownSession
  const { topicFilter } = subscription
  if (session.subscriptions.size >= limits.maximumSubscriptions && !session.subscriptions.has(topicFilter)) return { reasonCode: ReasonCode.quotaExceeded }
  const options = optionsOf(subscription)
  const isNew = router.subscribe(session, parsed, topicFilter, options)
  hooks.notify('subscribed', { client, subscription })
  return { reasonCode, replay: () => { router.replayRetained(session, parsed, options, isNew, clock.now()) } }
}

function optionsOf ({ qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }: Subscription): SubscriptionOptions {
  return { qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }
}

/** MQTT 3.1 cannot refuse a subscription: it is acknowledged, and nothing comes. */
function answerable (client: Client, reasonCode: ReasonCode): ReasonCode {
  return client.protocolVersion === 3 && reasonCode >= ReasonCode.unspecifiedError ? ReasonCode.success : reasonCode
}
