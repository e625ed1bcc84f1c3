import { AssertionError } from 'node:assert'
import { checkNumber, createBroker, memoryStore, optionInvalid, type Broker, type BrokerOptions, type Plugin } from '../../lib/index.ts'
import { FakeClock, settled } from './fake-clock.ts'
import { FaultStore } from './fault-store.ts'
import { leakedHandles, openHandles } from './leaks.ts'
import { MemoryLogger } from './memory-logger.ts'
import { PacketClient } from './packet-client.ts'
import { TestClient, type TestClientOptions } from './test-client.ts'

/** Those of `createBroker`, with what time, the store and the log are for a test. Default of `sysIntervalMs` and `closeTimeoutMs`: 0. */
export interface TestBrokerOptions<Data = unknown> extends Omit<BrokerOptions<Data>, 'clock' | 'emitter' | 'nodeName'> {
  plugins?: readonly Plugin<Data>[]
  /** To have it before the broker, or to go on with that of a broker before. Default: a new one. */
  clock?: FakeClock
  /** Real milliseconds that an expectation waits for work outside the event loop before it fails. Default 1,000. */
  patienceMs?: number
}

/**
 * A broker for a test: no socket, no real time, a store that fails on demand, and clients in memory.
 *
 * ```ts
 * const test = await createTestBroker({ plugins: [myPlugin()] })
 * const client = test.client({ username: 'ada', password: 'secret' })
 * await client.expectConnected()
 * await test.close()
 * ```
 * @throws whatever `createBroker` throws
 */
export async function createTestBroker<Data = unknown> (options: TestBrokerOptions<Data> = {}): Promise<TestBroker<Data>> {
  if (typeof options !== 'object' || options as unknown === null || Symbol.iterator in options || 'then' in options) throw optionInvalid('options', 'an object', options)
  const { clock = new FakeClock(), persistence = memoryStore(), patienceMs = 1_000, ...rest } = options
  if ('emitter' in options) throw optionInvalid('emitter', 'absent: a test broker is one alone', 'one')
  if (!((clock as unknown) instanceof FakeClock)) throw optionInvalid('clock', 'a FakeClock', clock)
  checkNumber('patienceMs', patienceMs, 0, 2 ** 31 - 1)
  const handles = openHandles()
  const log = new MemoryLogger()
  const store = new FaultStore(persistence, clock)
  const broker = await createBroker<Data>({ sysIntervalMs: 0, closeTimeoutMs: 0, logger: log, ...rest, clock, persistence: store })
  return new TestBroker(broker, clock, store, log, { patienceMs, handles })
}

/** Made by {@link createTestBroker}. */
export class TestBroker<Data = unknown> {
  readonly broker: Broker<Data>
  /** Stands still until `await clock.advance(ms)`. */
  readonly clock: FakeClock
  /** What the broker keeps its Sessions in: `slow`, `fail`, `gone`, `recover`. */
  readonly store: FaultStore
  /** What the broker and its plugins logged; empty where `logger` is given. */
  readonly log: MemoryLogger
  readonly #patienceMs: number
  readonly #handles: ReadonlyMap<string, number>
  readonly #clients: TestClient[] = []
  #closing: Promise<void> | undefined = undefined

  /** @internal */
  constructor (broker: Broker<Data>, clock: FakeClock, store: FaultStore, log: MemoryLogger, { patienceMs, handles }: { patienceMs: number, handles: ReadonlyMap<string, number> }) {
    this.broker = broker
    this.clock = clock
    this.store = store
    this.log = log
    this.#patienceMs = patienceMs
    this.#handles = handles
  }

  /** A client that has sent its CONNECT. What comes of it: `expectConnected`, `expectRefused`. */
  client (options: TestClientOptions = {}): TestClient {
    const { clientIdentifier = `client-${this.#clients.length + 1}`, protocolVersion = 5, listener, socket = {} } = options
    const handle = this.broker.listener(listener === undefined ? {} : { name: listener })
    const wire = new PacketClient(this.broker, protocolVersion, stream => { handle(Object.assign(stream, socket)) })
    const client = new TestClient(clientIdentifier, wire, options, { patienceMs: this.#patienceMs, news: () => this.#news() })
    this.#clients.push(client)
    return client
  }

  /** A client that is connected. */
  async connect (options: TestClientOptions = {}): Promise<TestClient> {
    const client = this.client(options)
    await client.expectConnected()
    return client
  }

  /**
   * Closes the broker with its plugins, and looks at what is left.
   * @throws AssertionError for timers on the clock, connections, and handles of this process that were not there before
   */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  [Symbol.asyncDispose] (): Promise<void> { return this.close() }

  async #close (): Promise<void> {
    this.store.recover()
    const ended = { is: false }
    const closing = this.broker.close().finally(() => { ended.is = true })
    closing.catch(() => undefined) // thrown below, when time has gone on
    for (let second = 0; second < 60 && !ended.is; second++) await this.clock.advance(second === 0 ? 0 : 1_000)
    await closing
    for (const client of this.#clients) await client.vanish()
    await settled()
    const left = this.#leaks()
    if (left.length > 0) throw new AssertionError({ message: ['The broker is closed, and this is left:', ...left].join('\n  ') })
  }

  #leaks (): string[] {
    const { connections } = this.broker.metrics
    return [
      ...this.clock.pendingTasks.map(task => `a timer on broker.clock, ${task}`),
      ...connections > 0 ? [`${connections} connections`] : [],
      ...leakedHandles(this.#handles),
    ]
  }

  #news (): string[] {
    return this.log.lines.filter(({ level }) => level === 'warn' || level === 'error').slice(-3).map(({ level, message }) => `${level}: ${message}`)
  }
}
