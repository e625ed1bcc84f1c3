import type { Duplex } from 'node:stream'
import type { Test } from 'tap'
import { ReasonCode, type BrokerOptions, type Hooks } from '../../../lib/index.ts'
import { PacketType, type ConnectPacket, type ProtocolVersion } from '../../../lib/packet/packets.ts'
import { rateLimit, type RateLimit, type RateLimitOptions } from '../../../plugins/rate-limit/index.ts'
import { connectPacket, PacketClient, startBroker, type TestBroker } from '../harness.ts'
import { MemoryLogger } from '../observe.ts'

export interface Limited extends TestBroker { readonly limit: RateLimit, readonly logger: MemoryLogger }

export async function start (t: Test, options: RateLimitOptions, hooks: Hooks = {}, more: BrokerOptions = {}): Promise<Limited> {
  const limit = rateLimit(options)
  const logger = new MemoryLogger()
  return { ...await startBroker(t, { logger, hooks, plugins: [limit], ...more }), limit, logger }
}

/** A connection from that address; undefined when it was closed before anything of it was read. */
export function arrive ({ broker }: TestBroker, remoteAddress: string | undefined, version: ProtocolVersion = 5): PacketClient | undefined {
  const streams: Duplex[] = []
  const client = new PacketClient(broker, version, stream => {
    streams.push(stream)
    broker.handle(Object.assign(stream, { remoteAddress }))
  })
  return streams.some(({ destroyed }) => destroyed) ? undefined : client
}

export type Outcome = ReasonCode | 'closed'

/** Connects from that address and says how that went; the Client follows where it was let in. */
export async function attempt (test: TestBroker, address: string | undefined, fields: Partial<ConnectPacket> = {}): Promise<[Outcome, PacketClient | undefined]> {
  const client = arrive(test, address, fields.protocolVersion ?? 5)
  if (client === undefined) return ['closed', undefined]
  client.send(connectPacket(fields))
  const [connack] = await client.takeType(PacketType.connack)
  return [connack?.reasonCode ?? 'closed', client]
}

export async function outcome (test: TestBroker, address: string | undefined, fields: Partial<ConnectPacket> = {}): Promise<Outcome> {
  return (await attempt(test, address, fields))[0]
}

export async function enter (test: TestBroker, address: string, fields: Partial<ConnectPacket> = {}): Promise<PacketClient> {
  const [reasonCode, client] = await attempt(test, address, fields)
  if (client === undefined || reasonCode !== ReasonCode.success) throw new Error(`refused: ${reasonCode}`)
  return client
}

export const right: Partial<ConnectPacket> = { username: 'ada', password: Buffer.from('right') }
export const wrong: Partial<ConnectPacket> = { username: 'ada', password: Buffer.from('wrong') }
export const passwords: Hooks = { authenticate: ({ password }) => password?.toString() === 'right' }
export const bad = ReasonCode.badUserNameOrPassword
