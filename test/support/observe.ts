import type { Test } from 'tap'
import type { BrokerOptions, Hooks } from '../../lib/index.ts'
import { PacketType, type ConnackPacket, type ConnectPacket, type Packet } from '../../lib/packet/packets.ts'
import { MemoryLogger } from '../../plugins/testing/memory-logger.ts'
import { connectPacket, PacketClient, startBroker, type TestBroker } from './harness.ts'

export { MemoryLogger } from '../../plugins/testing/memory-logger.ts'

/** A promise that a test settles when it wants. */
export interface Deferred<T> { readonly promise: Promise<T>, readonly resolve: (value: T) => void, readonly reject: (error: Error) => void }

export function deferred<T = undefined> (): Deferred<T> {
  const handles: Partial<Deferred<T>>[] = []
  const promise = new Promise<T>((resolve, reject) => { handles.push({ resolve, reject }) })
  return { promise, ...handles[0] } as Deferred<T>
}

/** A broker with all that its observers were told, as short lines. */
export interface ObservedBroker extends TestBroker { readonly events: string[], readonly logger: MemoryLogger }

/** The observers that write what happens into `events`: `drop queueFull client`, `disconnected 151 client`. */
export function recorder (events: string[]): Hooks {
  return {
    onDrop: ({ reason, clientIdentifier }) => { events.push(`drop ${reason} ${clientIdentifier ?? '-'}`) },
    disconnected: ({ client, reasonCode }) => { events.push(`disconnected ${reasonCode} ${client.clientIdentifier}`) },
    refused: ({ error }) => { events.push(`refused ${error.code} ${error.reasonCode}`) },
    sessionEnded: ({ clientIdentifier }) => { events.push(`ended ${clientIdentifier}`) },
  }
}

export async function startObserved (t: Test, options: BrokerOptions = {}): Promise<ObservedBroker> {
  const events: string[] = []
  const logger = new MemoryLogger()
  const test = await startBroker(t, { logger, ...options })
  test.broker.hook(recorder(events))
  return { ...test, events, logger }
}

/** A Client that sends CONNECT, whatever the answer; the answer is undefined when there is none. */
export async function tryConnect<Data> ({ broker }: TestBroker<Data>, fields: Partial<ConnectPacket> = {}): Promise<[PacketClient, ConnackPacket | undefined]> {
  const packet = connectPacket(fields)
  const client = new PacketClient(broker, packet.protocolVersion)
  client.send(packet)
  const [connack] = await client.takeType(PacketType.connack)
  return [client, connack]
}

/** What a CONNECT is answered with, and whether the connection is over. */
export async function attempt ({ broker }: TestBroker, fields: Partial<ConnectPacket>): Promise<{ answers: Packet[], isEnded: boolean }> {
  const packet = connectPacket(fields)
  const client = new PacketClient(broker, packet.protocolVersion)
  client.send(packet)
  return { answers: await client.take(), isEnded: client.isEnded }
}
