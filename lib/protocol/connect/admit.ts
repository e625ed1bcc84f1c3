import { isDeepStrictEqual } from 'node:util'
import { ErrorCode, MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { Allow, ClientInfo, ConnectPatch } from '../../contract/hooks.ts'
import { mergeConnectPatch } from '../../hooks/hook-runner.ts'
import { PacketType, type ConnackPacket, type ConnectPacket, type Properties } from '../../packet/packets.ts'
import { neverExpires, type Session } from '../../session/session.ts'
import type { Client } from '../client/client.ts'
import { ConnectRefused } from '../client/failure.ts'
import { authorizeRestored } from '../subscribe/restored-subscriptions.ts'
import { dropForbidden } from '../subscribe/revalidate.ts'
import { authorizeWill, willOf } from './will.ts'

/**
 * A Client that is who it says: what hooks decide about it, then, in one go so that nobody can come between, the Session
 * is its own, CONNACK goes out and what waited follows.
 */
export async function admit (client: Client, packet: ConnectPacket, allow: Allow, extra: Properties = {}): Promise<void> {
  client.identify(allow)
  await authorizeClient(client)
  await authorizeWill(client, packet)
  const patch = await client.services.hooks.patch('onConnect', {}, () => ({ client }), mergeConnectPatch)
  checkPatch(client, patch)
  const isAssigned = packet.clientIdentifier === '' && allow.clientIdentifier === undefined // nobody else can have it
  if (!isAssigned) client.claimed = await client.services.cluster?.claim(client.clientIdentifier) ?? 0
  try {
    await admitClaimed(client, packet, patch, extra)
  } finally {
    releaseUnused(client)
  }
}

async function authorizeClient (client: Client): Promise<void> {
  const reasonCode = await client.services.hooks.authorize('authorizeClient', { client })
  if (reasonCode !== ReasonCode.success) throw new ConnectRefused(ErrorCode.notAuthorized, reasonCode, 'the Client may not come in now')
}

async function admitClaimed (client: Client, packet: ConnectPacket, patch: ConnectPatch, extra: Properties): Promise<void> {
  const { revalidations } = client.services
  const refused = packet.cleanStart ? [] : await authorizeRestored(client)
  await loadSession(client, packet)
  if (client.services.revalidations !== revalidations) { // rights have changed meanwhile
    await admitClaimed(client, packet, patch, extra)
    return
  }
  if (client.phase !== 'connecting') return
  if (client.services.isClosing) throw new ConnectRefused(ErrorCode.serverShuttingDown, ReasonCode.serverUnavailable, 'the broker is shutting down')
  await accept(client, packet, patch, refused, extra)
}

/** A Client that was not let in after all leaves no claim behind. */
function releaseUnused ({ services: { cluster }, clientIdentifier, claimed }: Client): void {
  cluster?.giveBack(clientIdentifier, claimed)
}

/** Reads what a Session that was found in the store has in flight, if its Client goes on with it. */
async function loadSession ({ services: { sessions }, clientIdentifier }: Client, { cleanStart }: ConnectPacket): Promise<void> {
  const session = sessions.get(clientIdentifier)
  if (!cleanStart && session?.isToBeLoaded === true) await session.load()
}

/** What hooks say goes on the wire: it must fit. */
function checkPatch ({ clientIdentifier }: Client, { keepAlive, sessionExpiryInterval }: ConnectPatch): void {
  if (clientIdentifier === '' || Buffer.byteLength(clientIdentifier) > 65_535) throw hookFailed('clientIdentifier', 'a text of 1 to 65,535 bytes')
  if (!isWithin(keepAlive, 65_535)) throw hookFailed('keepAlive', 'a whole number from 0 to 65,535')
  if (!isWithin(sessionExpiryInterval, neverExpires)) throw hookFailed('sessionExpiryInterval', 'a whole number from 0 to 0xFFFFFFFF')
}

function isWithin (value: number | undefined, maximum: number): boolean {
  return value === undefined || (Number.isInteger(value) && value >= 0 && value <= maximum)
}

function hookFailed (field: string, expected: string): MqttError {
  return new MqttError(ErrorCode.hookFailed, ReasonCode.implementationSpecificError, `a hook gave a ${field} that is not ${expected}`)
}

/** Whether a hook, an authentication method, a Will Message, the store or the cluster has a say in a CONNECT; without them `accept` needs no promise. */
export function isToBeAsked ({ services, clientIdentifier }: Client, { will, cleanStart }: ConnectPacket): boolean {
  const { authenticate, authorizeClient, onConnect, authorizeSubscribe } = services.hooks.chains
  return services.cluster !== undefined || authenticate !== undefined || authorizeClient !== undefined || services.authenticationMethods.size > 0 || will !== undefined || onConnect !== undefined ||
    (!cleanStart && (authorizeSubscribe !== undefined || services.sessions.get(clientIdentifier)?.isToBeLoaded === true))
}

/**
 * Lets a Client in whom nobody is to be asked about any more.
 * @returns a promise where the Session has to be stored before the Client is told that it has one
 */
export function accept (client: Client, packet: ConnectPacket, patch: ConnectPatch = {}, refused: readonly string[] = [], extra: Properties = {}): Promise<void> | undefined {
  const keepAlive = keepAliveOf(client, packet, patch)
  const expiry = sessionExpiryOf(client, packet, patch)
  const { session, isPresent } = claimSession(client, packet)
  const expiryBefore = session.sessionExpiryInterval
  takeOver(client, session, refused)
  session.sessionExpiryInterval = expiry
  session.will = willOf(client, packet)
  client.silenceLimitMs = keepAlive * 1500 // [MQTT-3.1.2-22]
  const properties = packet.protocolVersion === 5 ? { ...connackProperties(client, packet, patch, keepAlive, expiry), ...extra } : undefined
  const connack: ConnackPacket = { type: PacketType.connack, sessionPresent: isPresent, reasonCode: ReasonCode.success, properties }
  const receiveMaximum = packet.properties?.receiveMaximum ?? Infinity
  if (isToBeStored(client, session)) return store(client, session, expiryBefore).then(() => { welcome(client, session, connack, receiveMaximum) })
  welcome(client, session, connack, receiveMaximum)
  return undefined
}

/** The Session is the Client's own, without what the Client may not have any more. */
function takeOver (client: Client, session: Session, refused: readonly string[]): void {
  const { services } = client
  for (const topicFilter of refused) services.router.unsubscribe(session, topicFilter)
  const isJudged = session.log?.isRestored !== true && isSame(client, session.client)
  session.client = client
  session.identities++
  client.session = session
  if (refused.length > 0 || (!isJudged && services.hooks.guardsDeliveries)) dropForbidden(services, session, refused)
  if (session.log !== undefined) session.log.isRestored = false
}

/** Whether what was decided of the one may stand for the other: a Client Identifier is no proof of who somebody is. */
function isSame (client: ClientInfo, former: ClientInfo | undefined): boolean {
  return former !== undefined && former.username === client.username && isDeepStrictEqual(former.claims, client.claims)
}

/** Has a Session written down that outlives the process, or whose Will does; whether CONNACK promises that. */
function isToBeStored ({ services, sink }: Client, session: Session): boolean {
  const isDurable = session.sessionExpiryInterval > 0
  if (session.log === undefined && (services.journal === undefined || (!isDurable && session.will === undefined))) return false
  session.connect(sink)
  if (session.log === undefined) services.keep(session, isDurable)
  services.sessions.save(session)
  return session.isDurable || session.will !== undefined // [MQTT-3.1.2-7]
}

/** A CONNECT that is refused changes nothing: a new Session ends with the connection, as nobody was promised one. */
async function store (client: Client, session: Session, expiryBefore: number): Promise<void> {
  try {
    await client.services.journal?.written()
  } catch (error) {
    if (session.client === client) session.sessionExpiryInterval = expiryBefore
    if (client.services.cluster !== undefined) throw unavailable(error) // it will be there again
    throw error
  }
}

function unavailable (cause: unknown): MqttError {
  return new MqttError(ErrorCode.clusterUnavailable, ReasonCode.serverUnavailable, 'the Session cannot be stored now', { cause })
}

function welcome (client: Client, session: Session, connack: ConnackPacket, receiveMaximum: number): void {
  const { services, sink } = client
  if (client.phase !== 'connecting') return // it left, or was sent away, while its Session was being stored
  client.phase = 'connected'
  sink.schedule()
  countConnected(client)
  sink.send(connack)
  if (!isConnected(client)) return
  session.connect(sink)
  client.wasTold = true
  services.cluster?.outbound.presence(client.clientIdentifier, true)
  services.hooks.notify('connected', { client, sessionPresent: connack.sessionPresent })
  if (!isConnected(client)) return
  session.attach(sink, Math.min(receiveMaximum, services.limits.maximumInFlight))
  services.router.connectionChanged(session)
}

// Sending CONNACK, or an observer, may have ended the connection.
function isConnected (client: Client): boolean { return client.phase === 'connected' }

/** The Session of that Client Identifier, old or new; whoever held it is sent away first [MQTT-3.1.4-3]. */
function claimSession (client: Client, { cleanStart }: ConnectPacket): { session: Session, isPresent: boolean } {
  const { sessions } = client.services
  const before = sessions.get(client.clientIdentifier)
  if (before !== undefined) sessions.settle(before) // its time may have come since the last sweep
  before?.sink?.disconnect(ReasonCode.sessionTakenOver)
  const known = before === undefined ? undefined : sessions.get(client.clientIdentifier)
  if (known !== undefined && !cleanStart) {
    sessions.claim(known)
    return { session: known, isPresent: true } // [MQTT-3.1.2-5]
  }
  if (known !== undefined) sessions.end(known) // [MQTT-3.1.2-4]
  return { session: newSession(client), isPresent: false }
}

function newSession (client: Client): Session {
  const { sessions, limits } = client.services
  if (sessions.size >= limits.maximumSessions) {
    throw new MqttError(ErrorCode.quotaExceeded, ReasonCode.quotaExceeded, 'there are as many Sessions as maximumSessions allows')
  }
  const session = sessions.create(client.clientIdentifier)
  if (client.claimed !== 0) number(client, session)
  return session
}

/** The number that was claimed, unless a Session has, or had it; or another node has claimed the Client Identifier since, which it will say. */
function number ({ services: { cluster, journal }, claimed, clientIdentifier }: Client, session: Session): void {
  session.number = cluster?.use(claimed) === true ? claimed : journal?.newSession() ?? 0
  if (session.number !== claimed) cluster?.outbound.begin({ clientIdentifier, session: session.number })
}

function countConnected ({ services: { metrics } }: Client): void {
  metrics.connectionsAccepted++
  metrics.clientsConnected++
  metrics.clientsMaximum = Math.max(metrics.clientsMaximum, metrics.clientsConnected)
}

/** Seconds. The broker's maximum holds for 3.x Clients too, which cannot be told. */
function keepAliveOf (client: Client, { keepAlive }: ConnectPacket, patch: ConnectPatch): number {
  const { maximumKeepAlive } = client.services.limits
  const isTooLong = maximumKeepAlive > 0 && (keepAlive === 0 || keepAlive > maximumKeepAlive)
  return patch.keepAlive ?? (isTooLong ? maximumKeepAlive : keepAlive)
}

/** Seconds. Clean Session 0 of MQTT 3.x asks for a Session that never ends. */
function sessionExpiryOf (client: Client, packet: ConnectPacket, patch: ConnectPatch): number {
  const asked = packet.protocolVersion === 5 ? packet.properties?.sessionExpiryInterval ?? 0 : packet.cleanStart ? 0 : neverExpires
  return Math.min(patch.sessionExpiryInterval ?? asked, client.services.limits.maximumSessionExpiryInterval)
}

/** What differs from what the Client asked for, and the limits it has to keep to (section 3.2.2.3). */
function connackProperties (client: Client, packet: ConnectPacket, patch: ConnectPatch, keepAlive: number, expiry: number): Properties {
  const { limits } = client.services
  const properties: Properties = {
    receiveMaximum: limits.receiveMaximum,
    maximumPacketSize: limits.maximumPacketSize,
    topicAliasMaximum: limits.topicAliasMaximum,
  }
  if (packet.clientIdentifier !== client.clientIdentifier) properties.assignedClientIdentifier = client.clientIdentifier // [MQTT-3.2.2-16]
  if (keepAlive !== packet.keepAlive) properties.serverKeepAlive = keepAlive // [MQTT-3.1.2-21]
  if (expiry !== (packet.properties?.sessionExpiryInterval ?? 0)) properties.sessionExpiryInterval = expiry
  if (patch.userProperties !== undefined) properties.userProperties = patch.userProperties
  const responseInformation = responseInformationOf(client, packet, patch)
  if (responseInformation !== undefined) properties.responseInformation = responseInformation
  return properties
}

/** Only for a Client that asked [MQTT-3.1.2-28]. */
function responseInformationOf (client: Client, packet: ConnectPacket, patch: ConnectPatch): string | undefined {
  if (packet.properties?.requestResponseInformation !== 1) return undefined
  return patch.responseInformation ?? client.services.responseInformation?.(client)
}
