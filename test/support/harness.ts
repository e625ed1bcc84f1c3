import type { Test } from 'tap'
import { createBroker, type Broker, type Plugin } from '../../lib/broker.ts'
import { ReasonCode } from '../../lib/base/reason-codes.ts'
import type { BrokerOptions } from '../../lib/options/options.ts'
import { memoryStore } from '../../lib/store/memory-store.ts'
import { PacketType, type ConnackPacket, type ConnectPacket, type ProtocolVersion } from '../../lib/packet/packets.ts'
import { FakeClock, settled } from '../../plugins/testing/fake-clock.ts'
import { connectPacket, PacketClient } from '../../plugins/testing/packet-client.ts'

export { settled } from '../../plugins/testing/fake-clock.ts'
export { connectPacket, PacketClient } from '../../plugins/testing/packet-client.ts'

/** A broker on a clock that stands still, closed when the test ends. */
export interface TestBroker<Data = unknown> { readonly broker: Broker<Data>, readonly clock: FakeClock }

type Options<Data> = BrokerOptions<Data> & { plugins?: readonly Plugin<Data, Data>[] }

export async function startBroker<Data = unknown> (t: Test, options: Options<Data> = {}): Promise<TestBroker<Data>> {
  const clock = options.clock instanceof FakeClock ? options.clock : new FakeClock()
  const persistence = process.env['MYELIN_TEST_STORE'] === 'memory' ? { persistence: memoryStore() } : {}
  const broker = await createBroker<Data>({ clock, sysIntervalMs: 0, closeTimeoutMs: 0, ...persistence, ...options })
  t.teardown(async () => {
    const closing = broker.close()
    await clock.advance(10_000)
    await closing
  })
  return { broker, clock }
}

/** A Client whose CONNECT was accepted; its CONNACK is the second value. */
export async function connect<Data> ({ broker }: TestBroker<Data>, fields: Partial<ConnectPacket> = {}, settle: (client: PacketClient) => Promise<void> = settled): Promise<[PacketClient, ConnackPacket]> {
  const packet = connectPacket(fields)
  const client = new PacketClient(broker, packet.protocolVersion)
  client.settle = async () => settle(client)
  client.send(packet)
  await client.settle()
  const connack = client.received.shift()
  if (connack?.type !== PacketType.connack || connack.reasonCode !== ReasonCode.success) throw new Error(`CONNECT was not accepted: ${JSON.stringify(connack)}`)
  return [client, connack]
}

/** Runs a test for both protocols that are in use. */
export function forEachVersion (t: Test, name: string, run: (t: Test, version: ProtocolVersion) => Promise<void>): void {
  for (const version of [4, 5] as const) t.test(`${name} (${version === 4 ? '3.1.1' : '5.0'})`, async t => { await run(t, version) })
}
