import { ErrorCode, MqttError, protocolError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { Accept, Continue, Exchange } from '../../contract/authentication.ts'
import { checkStep } from '../../hooks/answers.ts'
import type { ConnectPacket, AuthPacket, Properties } from '../../packet/packets.ts'
import { PacketType } from '../../packet/packets.ts'
import { admit } from './admit.ts'
import { refusal } from './authenticate.ts'
import type { Client } from '../client/client.ts'
import { revalidateSession } from '../subscribe/revalidate.ts'

/** A CONNECT with an Authentication Method: the exchange decides, however many AUTH packets it takes (section 4.12). */
export async function beginExchange (client: Client, connect: ConnectPacket, method: string): Promise<void> {
  client.authentication = { method, connect, exchange: startExchange(client, method) }
  await advance(client, connect.properties?.authenticationData)
}

/** AUTH from a Client (section 3.15): the next step of an exchange, or the first of another. */
export function handleAuth (client: Client, { reasonCode, properties }: AuthPacket): Promise<void> {
  const { authentication } = client
  if (authentication === undefined) throw protocolError('AUTH without an Authentication Method in CONNECT [MQTT-4.12.0-7]')
  if (properties?.authenticationMethod !== authentication.method) throw protocolError('the Authentication Method changed [MQTT-4.12.0-5]')
  if (reasonCode === ReasonCode.reAuthenticate && client.phase === 'connected') authentication.exchange = startExchange(client, authentication.method)
  else if (reasonCode !== ReasonCode.continueAuthentication || authentication.exchange === undefined) throw protocolError('no exchange asked for this AUTH (4.12)')
  return advance(client, properties.authenticationData)
}

function startExchange (client: Client, name: string): Exchange {
  const method = client.services.authenticationMethods.get(name)
  if (method === undefined) throw new MqttError(ErrorCode.badAuthenticationMethod, ReasonCode.badAuthenticationMethod, 'the Authentication Method is not known here [MQTT-4.12.0-1]')
  const { clientIdentifier, username, connection } = client
  return method.start({
    clientIdentifier, username, connection, client: client.phase === 'connected' ? client : undefined, get signal () { return client.signal },
  })
}

async function advance (client: Client, data: Buffer | undefined): Promise<void> {
  const step = await stepOf(client, data)
  if (client.phase === 'closed') return
  if ('continue' in step) sendAuth(client, ReasonCode.continueAuthentication, step.continue) // [MQTT-4.12.0-2]
  else await finish(client, step)
}

/** @throws MqttError when the method refuses, or fails, which counts as a refusal */
async function stepOf (client: Client, data: Buffer | undefined): Promise<Continue | Accept> {
  const exchange = client.authentication?.exchange
  if (exchange === undefined) throw protocolError('no exchange is going on (4.12)')
  const step = await client.services.hooks.guard('authentication method', async () => {
    const answer = await exchange.next(data)
    checkStep(answer)
    return answer
  })
  if ('continue' in step || step.allow) return step
  throw refusal({ reasonCode: ReasonCode.notAuthorized, ...step }, { username: undefined, password: undefined })
}

async function finish (client: Client, accept: Accept): Promise<void> {
  const { authentication } = client
  if (authentication === undefined) return
  authentication.exchange = undefined
  if (client.phase === 'connecting') await admit(client, authentication.connect, accept, authenticationProperties(client, accept.authenticationData))
  else await reauthenticate(client, accept)
}

async function reauthenticate (client: Client, accept: Accept): Promise<void> {
  const { clientIdentifier } = client
  client.identify({ ...accept, clientIdentifier }) // its Session is that of the name it came with
  client.ownSession.identities++
  client.sink.schedule()
  await revalidateSession(client.services, client.ownSession) // with the rights of whom it is now
  if (isGone(client)) return
  sendAuth(client, ReasonCode.success, accept.authenticationData)
}

// Hooks may take their time.
function isGone (client: Client): boolean { return client.phase === 'closed' }

function sendAuth (client: Client, reasonCode: ReasonCode, data: Buffer | undefined): void {
  client.sink.send({ type: PacketType.auth, reasonCode, properties: authenticationProperties(client, data) })
}

function authenticationProperties (client: Client, authenticationData: Buffer | undefined): Properties {
  const authenticationMethod = client.authentication?.method ?? '' // [MQTT-4.12.0-5]
  return authenticationData === undefined ? { authenticationMethod } : { authenticationMethod, authenticationData }
}
