import type { ConnectPacket, PublishPacket } from '../../../lib/packet/packets.ts'
import type { World } from './durable-world.ts'
import { lasting, open, receiveAll } from '../exchanges.ts'
import type { PacketClient } from '../harness.ts'

/** A Client with a Session that outlives its connection. */
export const sleeping = (fields: Partial<ConnectPacket> = {}): Partial<ConnectPacket> => lasting({ clientIdentifier: 'sleeper', ...fields })

/** A Client that has subscribed, for a Session that outlives the broker. */
export async function subscribe ({ test }: World, topicFilter = 'a', qos: 1 | 2 = 2, fields: Partial<ConnectPacket> = {}): Promise<PacketClient> {
  const [client] = await open(test, sleeping(fields))
  await client.subscribe(topicFilter, { qos })
  return client
}

/** The same, gone again. */
export async function leaveSubscribed (world: World, topicFilter = 'a', qos: 1 | 2 = 2, fields: Partial<ConnectPacket> = {}): Promise<void> {
  await (await subscribe(world, topicFilter, qos, fields)).vanish()
}

/** Comes back and takes all there is. */
export async function comeBack ({ test }: World, fields: Partial<ConnectPacket> = {}): Promise<PublishPacket[]> {
  const [client] = await open(test, sleeping(fields))
  return receiveAll(client)
}

/** Messages of the host, one after the other. */
export async function publish ({ test }: World, payloads: readonly string[], qos: 1 | 2 = 1, topicName = 'a'): Promise<void> {
  for (const payload of payloads) await test.broker.publish(topicName, payload, { qos })
}

/** The same, all at once. */
export async function publishTogether ({ test }: World, payloads: readonly string[], fields: { qos?: 1 | 2, topicName?: string, expiry?: number } = {}): Promise<void> {
  const { qos = 1, topicName = 'a', expiry } = fields
  const properties = expiry === undefined ? {} : { properties: { messageExpiryInterval: expiry } }
  await Promise.all(payloads.map(async payload => { await test.broker.publish(topicName, payload, { qos, ...properties }) }))
}

export async function isPresent ({ test }: World, clientIdentifier = 'sleeper'): Promise<boolean> {
  const [client, { sessionPresent }] = await open(test, lasting({ clientIdentifier }))
  await client.vanish()
  return sessionPresent
}

/** Texts that count from `from` on. */
export const numbers = (count: number, from = 0): string[] => Array.from({ length: count }, (_, i) => String(from + i))
