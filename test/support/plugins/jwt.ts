import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK, type JWTHeaderParameters } from 'jose'
import { generateKeyPairSync, KeyObject, type KeyPairKeyObjectResult } from 'node:crypto'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import type { Test } from 'tap'
import { ReasonCode, type ClientInfo, type Plugin } from '../../../lib/index.ts'
import { PacketType, type ConnectPacket, type Packet } from '../../../lib/packet/packets.ts'
import { jwt, type JwtOptions } from '../../../plugins/jwt/index.ts'
import { connectPacket, PacketClient, startBroker, type TestBroker } from '../harness.ts'
import { listen } from '../network/network.ts'
import { MemoryLogger } from '../observe.ts'

/** Seconds: the time of a FakeClock that nobody has moved. */
export const now: number = 1_000_000_000
export const secret: string = 'a secret of thirty-two bytes, or more'
export const issuer: string = 'https://id.example/'
export const audience: string = 'mqtt'

export interface KeyPair { readonly publicKey: KeyObject, readonly privateKey: CryptoKey, readonly jwk: JWK }

export async function keyPair (alg: string, kid = 'one'): Promise<KeyPair> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  return { publicKey: KeyObject.from(publicKey), privateKey, jwk: { ...await exportJWK(publicKey), kid, alg } }
}

export const rsa: KeyPair = await keyPair('RS256')
export const other: KeyPair = await keyPair('RS256', 'two')
/** Bound to no algorithm. */
export const anyRsa: KeyPairKeyObjectResult = generateKeyPairSync('rsa', { modulusLength: 2048 })

type Key = Parameters<SignJWT['sign']>[0]

/** A token that is right in all that is not said otherwise; `undefined` leaves a claim out. */
export async function sign (claims: Record<string, unknown> = {}, key: Key = rsa.privateKey, header: Partial<JWTHeaderParameters> = {}): Promise<string> {
  const all = { sub: 'ada', iss: issuer, aud: audience, exp: now + 3600, ...claims }
  return new SignJWT(JSON.parse(JSON.stringify(all)) as Record<string, unknown>).setProtectedHeader({ alg: 'RS256', kid: 'one', ...header }).sign(key)
}

/** Signed like `sign`, with a payload that no library would write. */
export function encoded (value: object | string): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

export const strict: JwtOptions = { jwks: { keys: [rsa.jwk] }, issuer, audience }

export interface JwtTest extends TestBroker { readonly logger: MemoryLogger, readonly plugin: ReturnType<typeof jwt> }

export async function start (t: Test, options: JwtOptions = strict, others: readonly Plugin[] = []): Promise<JwtTest> {
  const logger = new MemoryLogger()
  const plugin = jwt(options)
  return { ...await startBroker(t, { logger, plugins: [plugin, ...others] }), logger, plugin }
}

/** Waits for what needs threads of its own: signatures, files and sockets. */
export async function until (isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await turn()
}

/** The packets that come next; none when the connection has ended. */
export async function answers (client: PacketClient): Promise<Packet[]> {
  await until(() => client.received.length > 0 || client.isEnded)
  return client.take()
}

export async function login ({ broker }: TestBroker, fields: Partial<ConnectPacket>): Promise<[PacketClient, ReasonCode | undefined]> {
  const client = new PacketClient(broker, fields.protocolVersion ?? 5)
  client.send(connectPacket(fields))
  const [connack] = await answers(client)
  return [client, connack?.type === PacketType.connack ? connack.reasonCode : undefined]
}

export async function byPassword (test: TestBroker, token: string, fields: Partial<ConnectPacket> = {}): Promise<ReasonCode | undefined> {
  const [, reasonCode] = await login(test, { username: 'whoever', password: Buffer.from(token), ...fields })
  return reasonCode
}

export function clientOf ({ broker }: TestBroker): ClientInfo {
  const [client] = broker.clients()
  if (client === undefined) throw new Error('nobody is connected')
  return client
}

export const authenticationMethod: string = 'JWT'

export async function byMethod (test: TestBroker, token: string): Promise<[PacketClient, ReasonCode | undefined]> {
  return login(test, { properties: { authenticationMethod, authenticationData: Buffer.from(token) } })
}

export async function reauthenticate (client: PacketClient, token: string): Promise<Packet | undefined> {
  client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: { authenticationMethod, authenticationData: Buffer.from(token) } })
  return (await answers(client))[0]
}

/** An issuer whose key set a test changes. */
export class Issuer {
  requests = 0
  keys: unknown[] = [rsa.jwk]
  answer = (_request: IncomingMessage, response: ServerResponse): void => { response.end(JSON.stringify({ keys: this.keys })) }
  readonly honest = this.answer
  url = ''

  async listen (t: Test): Promise<this> {
    const server = createHttpServer((request, response) => {
      this.requests++
      this.answer(request, response)
    })
    t.teardown(() => { server.closeAllConnections() })
    this.url = `http://127.0.0.1:${await listen(t, server)}/keys?tenant=secret`
    return this
  }

  get options (): JwtOptions { return { jwks: this.url, issuer, audience } }
}
