import { connect, Socket } from 'node:net'
import { MqttClient, type IClientOptions } from 'mqtt'
import type { Receiver } from '../ledger.ts'
import type { Outgoing, Publisher } from './raw-publisher.ts'
import type { World } from '../world.ts'

/** The Reason Code of a PUBCOMP whose predecessor was lost: the message arrived all the same. */
const identifierNotFound = 146

/** The `mqtt` package as it comes: it finds the broker again by itself, and keeps what is open in its own stores. */
function newClient (world: World, name: string, version: 4 | 5): MqttClient {
  const options: IClientOptions = {
    clientId: name, protocolVersion: version, clean: false, resubscribe: false, keepalive: 0, reconnectPeriod: 20, connectTimeout: 60_000,
    ...(version === 5 && { properties: { sessionExpiryInterval: 86_400 } }),
  }
  const client = new MqttClient(() => socketTo(world.broker.port), { ...options, protocol: 'mqtt' })
  client.setMaxListeners(0)
  client.on('error', () => { /* it tries again */ })
  client.on('packetreceive', () => { world.event() })
  return client.connect()
}

/** Connects to nobody else while the broker is away. */
function socketTo (port: number | undefined): Socket {
  return port === undefined ? new Socket().destroy(new Error('the broker is away')) : connect({ port, host: '127.0.0.1', noDelay: true })
}

export class LibraryPublisher implements Publisher {
  /** It sends what was open again one by one, each when the one before is acknowledged, and is not ready before that. */
  readonly window = 6
  readonly #world: World
  readonly #name: string
  readonly #client: MqttClient
  #isReady = false

  constructor (world: World, name: string, version: 4 | 5) {
    this.#world = world
    this.#name = name
    this.#client = newClient(world, name, version)
    this.#client.on('connect', () => { this.#isReady = true })
    this.#client.on('close', () => { this.#isReady = false })
  }

  /** Once it has sent again what was open. */
  get isReady (): boolean { return this.#isReady }

  publish ({ topicName, payload, qos, retain, done, refused }: Outgoing): void {
    this.#client.publish(topicName, payload, { qos, retain }, error => {
      if (error instanceof Error && refused !== undefined && this.#world.mayRefuse(Number(codeOf(error)))) {
        refused()
        return
      }
      if (error instanceof Error && codeOf(error) !== identifierNotFound) this.#world.fault(`${this.#name} could not publish to ${topicName}: ${error.message}`)
      done()
    })
  }

  /** The network breaks, and it comes back. */
  breakOff (): void { this.#client.stream.destroy() }

  async close (): Promise<void> { await this.#client.endAsync(true) }
}

export class LibrarySubscriber {
  readonly name: string
  readonly receiver: Receiver
  readonly #client: MqttClient
  readonly #filters: readonly string[]

  constructor (world: World, name: string, version: 4 | 5, filters: readonly string[], receiver: Receiver) {
    this.name = name
    this.receiver = receiver
    this.#filters = filters
    this.#client = newClient(world, name, version)
    this.#client.on('message', (topicName, payload, { qos, retain }) => { receiver.receive({ topicName, payload, qos, retain }) })
    this.#expectSession(world)
  }

  async begin (): Promise<void> {
    await this.#client.subscribeAsync([...this.#filters, `fence/${this.name}`], { qos: this.receiver.qos })
  }

  /** It keeps up anyway. */
  settle (): Promise<void> { return Promise.resolve() }

  async sync (): Promise<void> { await this.#client.subscribeAsync(`sync/${this.name}`, { qos: 1 }) }

  /** The network breaks, and it comes back. */
  breakOff (): void { this.#client.stream.destroy() }

  async close (): Promise<void> { await this.#client.endAsync(true) }

  #expectSession (world: World): void {
    let isFirst = true
    this.#client.on('connect', ({ sessionPresent }) => {
      if (!isFirst && !sessionPresent) world.fault(`${this.name} has lost its Session`)
      isFirst = false
    })
  }
}

function codeOf (error: Error): unknown {
  return 'code' in error ? error.code : undefined
}
