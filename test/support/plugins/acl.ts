import type { Test } from 'tap'
import type { Allow, Claims, Plugin } from '../../../lib/index.ts'
import { PacketType, type ConnectPacket } from '../../../lib/packet/packets.ts'
import { accessRules, type AccessRule, type RulesPlugin } from '../../../plugins/acl/index.ts'
import { settled, startBroker, type PacketClient, type TestBroker } from '../harness.ts'
import { MemoryLogger } from '../observe.ts'

export interface Rules extends TestBroker { readonly acl: RulesPlugin, readonly logger: MemoryLogger, readonly watched: string[] }

/** Whoever comes is who the password says, as JSON. */
const anybody: Plugin = {
  name: 'anybody',
  hooks: { authenticate: ({ password }) => password === undefined ? true : JSON.parse(password.toString()) as Allow<never> },
}

export async function start (t: Test, acl: RulesPlugin): Promise<Rules> {
  const logger = new MemoryLogger()
  const test = await startBroker(t, { logger, plugins: [anybody, acl] })
  const watched: string[] = []
  test.broker.subscribe('#', ({ topicName }) => { watched.push(topicName) })
  return { ...test, acl, logger, watched }
}

export const startRules = (t: Test, rules: readonly AccessRule[], options: object = {}): Promise<Rules> => start(t, accessRules({ rules, ...options }))

/** CONNECT of somebody whom `authenticate` takes for what these claims say. */
export function withClaims (claims: Claims, fields: Partial<ConnectPacket> = {}): Partial<ConnectPacket> {
  return { password: Buffer.from(JSON.stringify({ allow: true, claims })), ...fields }
}

export async function mayPublish (client: PacketClient, topicName: string, fields: object = {}): Promise<boolean> {
  const answers = await client.publish(topicName, 'x', { qos: 1, packetIdentifier: 7, ...fields }).take()
  return answers.some(answer => answer.type === PacketType.puback && answer.reasonCode < 0x80)
}

export async function maySubscribe (client: PacketClient, topicFilter: string, qos: 0 | 1 | 2 = 0): Promise<boolean> {
  const suback = await client.subscribe(topicFilter, { qos })
  return Number(suback?.reasonCodes[0]) < 0x80
}

export async function until (isSo: () => boolean): Promise<void> {
  while (!isSo()) await settled()
}
