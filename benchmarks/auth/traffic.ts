// A broker with one of the variants and its clients in this process, over streams in memory: `node traffic.js FOLDER_OF_MYELIN VARIANT SCENARIO`.
// Each message from the parent makes it send so many turns of full windows, and answer with nanoseconds of CPU time for each delivery.
import { setImmediate as turn } from 'node:timers/promises'
import type { Broker } from '../../lib/index.ts'
import { connectFrame, GuardClient, messages, subscribeFrame } from '../guard/client.ts'
import { Variants } from './plugins.ts'
import type { VariantId } from './variants.ts'

const [root = '.', variant = 'none', scenario = 'pairs-qos0'] = process.argv.slice(2)
const qos = scenario.endsWith('qos1') ? 1 : 0
const [publishers, fan, window] = scenario.startsWith('fan-out') ? [1, 1000, 4] : [10, 1, 32]
const turns = Math.ceil(20_000 / (publishers * fan * window))

class Traffic {
  readonly #publishers: GuardClient[] = []
  readonly #clients: GuardClient[] = []
  readonly #windows: Buffer[] = []
  readonly #broker: Broker
  #expected = 0

  constructor (broker: Broker) { this.#broker = broker }

  async open (): Promise<void> {
    for (let i = 0; i < publishers; i++) {
      for (let j = 0; j < fan; j++) (await this.#connect(`bench-s${i}-${j}`)).send(subscribeFrame(`bench/${i}/state`))
      this.#publishers.push(await this.#connect(`bench-p${i}`))
      this.#windows.push(messages(`bench/${i}/state`, qos, window))
    }
  }

  async #connect (name: string): Promise<GuardClient> {
    const client = new GuardClient()
    this.#broker.handle(client.wire)
    client.send(connectFrame(name))
    while (client.packets === 0) await turn()
    this.#clients.push(client)
    return client
  }

  async round (): Promise<number> {
    const before = process.cpuUsage()
    for (let i = 0; i < turns; i++) await this.#turn()
    const { user, system } = process.cpuUsage(before)
    return (user + system) * 1000 / (turns * publishers * fan * window)
  }

  async #turn (): Promise<void> {
    this.#expected += publishers * window * (fan + qos)
    for (const [i, publisher] of this.#publishers.entries()) publisher.send(Buffer.from(this.#windows[i] as Buffer))
    while (this.#done < this.#expected) {
      await turn()
      for (const client of this.#clients) client.answer()
    }
  }

  get #done (): number { return this.#clients.reduce((sum, { received, completed }) => sum + received + completed, 0) }
}

const limits = { receiveMaximum: 65_535, memoryHighWaterMark: 0 }
const traffic = new Traffic(await new Variants(root).createBroker(variant as VariantId, { sysIntervalMs: 0, limits }))
await traffic.open()
process.on('message', () => { void traffic.round().then(ns => process.send?.(ns)) })
process.send?.('ready')
