import { once } from 'node:events'
import type { AddressInfo, ListenOptions, Server } from 'node:net'
import mqtt, { type IClientOptions, type IConnackPacket, type IPublishPacket, type MqttClient } from 'mqtt'
import type { Test } from 'tap'
import { createBroker, type Broker, type BrokerOptions, type Plugin } from '../../../lib/index.ts'

/** A broker on the clock of the machine, for sockets; closed when the test ends. */
export async function networkBroker<Data = unknown> (t: Test, options: BrokerOptions<Data> & { plugins?: readonly Plugin<Data, Data>[] } = {}): Promise<Broker<Data>> {
  const broker = await createBroker<Data>({ sysIntervalMs: 0, closeTimeoutMs: 100, ...options })
  t.teardown(() => broker.close())
  return broker
}

/** Lets a server listen on a free port of this machine, or at a path; returns the port (0 for a path). */
export async function listen (t: Test, server: Server, where: ListenOptions = { port: 0, host: '127.0.0.1' }): Promise<number> {
  server.listen(where)
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  return typeof server.address() === 'string' ? 0 : (server.address() as AddressInfo).port
}

/** The `mqtt` package as a Client, with what it has received. */
export class RealClient {
  readonly mqtt: MqttClient
  /** CONNACK of the latest connection. */
  connack: IConnackPacket | undefined = undefined
  readonly #received: IPublishPacket[] = []
  #wake: (() => void) | undefined = undefined

  constructor (client: MqttClient) {
    this.mqtt = client
    client.on('connect', connack => { this.connack = connack })
    client.on('error', () => undefined) // where it matters the promise rejects
    client.on('message', (topic, _payload, packet) => {
      this.#received.push({ ...packet, topic }) // which a Topic Alias may stand for in the packet
      this.#wake?.()
    })
  }

  /** The next message, waited for if need be. */
  async message (): Promise<IPublishPacket> {
    for (;;) {
      const packet = this.#received.shift()
      if (packet !== undefined) return packet
      await new Promise<void>(resolve => { this.#wake = resolve })
    }
  }

  /** The payloads of the next messages as text. */
  async texts (count: number): Promise<string[]> {
    const texts: string[] = []
    while (texts.length < count) texts.push(String((await this.message()).payload))
    return texts
  }

  /** Messages that have come and that nobody has asked for. */
  get unread (): number { return this.#received.length }

  /** What an event brings, the next time it happens. */
  event (name: 'close' | 'connect' | 'disconnect'): Promise<unknown[]> {
    return new Promise(resolve => { this.mqtt.once(name, (...values: unknown[]) => { resolve(values) }) })
  }

  /** The network breaks: no DISCONNECT. */
  vanish (): void { this.mqtt.stream.destroy() }
}

/** Connects; rejects with the client's error where the broker refuses. Does not reconnect unless it is told to. */
export async function dial (t: Test, url: string, options: IClientOptions = {}): Promise<RealClient> {
  return connected(t, mqtt.connect(url, { reconnectPeriod: 0, ...options }))
}

/** Waits until a client that is connecting has its CONNACK; ends it with the test. */
export async function connected (t: Test, client: MqttClient): Promise<RealClient> {
  const real = new RealClient(client)
  t.teardown(() => client.endAsync(true))
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => { resolve() }).once('error', reject).once('close', () => { reject(new Error('the connection was closed')) })
  })
  return real
}
