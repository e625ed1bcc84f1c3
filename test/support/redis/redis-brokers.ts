import { createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { IClientOptions } from 'mqtt'
import type { Test } from 'tap'
import { createBroker, type Broker, type BrokerOptions } from '../../../lib/index.ts'
import type { RedisEmitter } from '../../../plugins/redis/emitter/redis-emitter.ts'
import { FakeClock } from '../fake-clock.ts'
import { dial, type RealClient } from '../network/network.ts'
import { MemoryLogger, recorder } from '../observe.ts'
import { RedisNodes } from './redis-nodes.ts'
import type { RedisServer } from './redis-server.ts'

/** Milliseconds of the machine between two looks, and of the brokers. */
const [lookMs, tickMs] = [5, 250]
const patienceMs = 25_000

/** A broker that is a node, and listens. */
export class RedisBroker {
  readonly broker: Broker
  readonly clock: FakeClock
  readonly logger: MemoryLogger
  /** What observers were told: see `recorder`. */
  readonly events: string[] = []
  readonly emitter: RedisEmitter
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  /** Time goes by for it. */
  isAwake = true
  isGone = false

  private constructor (broker: Broker, clock: FakeClock, logger: MemoryLogger, emitter: RedisEmitter) {
    this.broker = broker
    this.clock = clock
    this.logger = logger
    this.emitter = emitter
    this.#server = createServer(socket => {
      this.#sockets.add(socket)
      broker.handle(socket)
    })
    broker.hook(recorder(this.events))
  }

  static async start (nodes: RedisNodes, options: BrokerOptions): Promise<RedisBroker> {
    const { persistence, emitter } = nodes.node()
    const [clock, logger] = [new FakeClock(Date.now()), new MemoryLogger()] // Redis has a clock of its own
    const broker = await createBroker({ clock, logger, persistence, emitter, sysIntervalMs: 0, closeTimeoutMs: 0, ...options })
    const started = new RedisBroker(broker, clock, logger, emitter)
    started.#server.listen(0, '127.0.0.1')
    await once(started.#server, 'listening')
    return started
  }

  get url (): string { return `mqtt://127.0.0.1:${(this.#server.address() as AddressInfo).port}` }

  get generation (): number { return this.broker.cluster?.generation ?? 0 }

  get isReachable (): boolean { return this.broker.cluster?.isReachable === true }

  /** Nobody comes any more, and who is there has to go. */
  shut (): void {
    this.isGone = true
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** Brokers in one process, each on a clock of its own, that share a real Redis; their Clients are those of package `mqtt`. */
export class RedisBrokers {
  readonly nodes: RedisNodes
  readonly #t: Test
  readonly #options: BrokerOptions
  readonly #brokers: RedisBroker[] = []

  constructor (t: Test, server: RedisServer, options: BrokerOptions = {}, prefix?: string) {
    this.#t = t
    this.nodes = new RedisNodes(server, server.url, prefix)
    this.#options = options
    t.teardown(async () => {
      for (const broker of this.#brokers) this.kill(broker)
      await this.nodes.dispose()
    })
  }

  async add (): Promise<RedisBroker> {
    const broker = await RedisBroker.start(this.nodes, this.#options)
    this.#brokers.push(broker)
    return broker
  }

  /** A Client whose Session stays for an hour, unless it says otherwise. */
  async connect ({ url }: RedisBroker, clientId: string, { properties, ...options }: IClientOptions = {}): Promise<RealClient> {
    const connecting = dial(this.#t, url, { protocolVersion: 5, clientId, clean: false, keepalive: 0, properties: { sessionExpiryInterval: 3600, ...properties }, ...options })
    return this.whileTimePasses(connecting)
  }

  /** The process is gone. */
  kill (broker: RedisBroker): void {
    if (broker.isGone) return
    broker.shut()
    this.nodes.kill(broker.emitter)
  }

  async close (broker: RedisBroker): Promise<void> {
    await this.whileTimePasses(broker.broker.close())
    broker.shut()
  }

  /** What takes a while. */
  async whileTimePasses<T> (promise: Promise<T>): Promise<T> {
    let isSettled = false
    promise.finally(() => { isSettled = true }).catch(() => undefined)
    await this.until('it is done', () => isSettled)
    return promise
  }

  /** Resolves when something is so that brokers and Redis bring about, while time goes by for those who are awake. */
  async until (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    for (const end = Date.now() + patienceMs; !await isSo();) {
      if (Date.now() > end) throw new Error(`waited for ever until ${what}`)
      await delay(lookMs)
      for (const { clock, isAwake, isGone } of this.#brokers) if (isAwake && !isGone) await clock.advance(tickMs)
    }
  }
}
