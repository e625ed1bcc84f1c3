import type { Metrics } from './base/metrics.ts'
import type { NodeState } from './contract/emitter.ts'
import { Message } from './contract/message.ts'
import type { BrokerServices } from './protocol/client/broker-services.ts'

/** Minutes over which the loads are averaged, as Mosquitto does. */
const spans = [1, 5, 15] as const

type Counter = keyof { [K in keyof Metrics as Metrics[K] extends number ? K : never]: true }

const loads: ReadonlyMap<string, Counter> = new Map([
  ['messages/received', 'packetsReceived'], ['messages/sent', 'packetsSent'],
  ['publish/received', 'messagesReceived'], ['publish/sent', 'messagesSent'], ['publish/dropped', 'messagesDropped'],
  ['bytes/received', 'bytesReceived'], ['bytes/sent', 'bytesSent'], ['connections', 'connectionsAccepted'],
])

const counts: readonly (readonly [name: string, count: (services: BrokerServices) => number])[] = [
  ['clients/connected', ({ metrics }) => metrics.clientsConnected],
  ['clients/disconnected', ({ metrics, sessions }) => sessions.size - metrics.clientsConnected],
  ['clients/total', ({ sessions }) => sessions.size],
  ['clients/maximum', ({ metrics }) => metrics.clientsMaximum],
  ['clients/expired', ({ metrics }) => metrics.sessionsExpired],
  ['messages/received', ({ metrics }) => metrics.packetsReceived],
  ['messages/sent', ({ metrics }) => metrics.packetsSent],
  ['messages/stored', ({ metrics, router }) => router.retained.count + metrics.queuedMessages],
  ['store/messages/count', ({ metrics, router }) => router.retained.count + metrics.queuedMessages],
  ['store/messages/bytes', ({ metrics, router }) => router.retained.bytes + metrics.queuedBytes],
  ['publish/messages/received', ({ metrics }) => metrics.messagesReceived],
  ['publish/messages/sent', ({ metrics }) => metrics.messagesSent],
  ['publish/messages/dropped', ({ metrics }) => metrics.messagesDropped],
  ['bytes/received', ({ metrics }) => metrics.bytesReceived],
  ['bytes/sent', ({ metrics }) => metrics.bytesSent],
  ['retained messages/count', ({ router }) => router.retained.count],
  ['subscriptions/count', ({ router }) => router.subscriptionCount],
  ['shared_subscriptions/count', ({ router }) => router.sharedSubscriptionCount],
]

/** Publishes what the broker counts under `$SYS/broker/` and, for all nodes of a cluster together, `$SYS/cluster/`, retained, as far as it has changed. Clients can only read it. */
export class SysTopics {
  readonly #services: BrokerServices
  readonly #version: string
  readonly #startedAt: number
  readonly #intervalMs: number
  readonly #last = new Map<string, string>()
  readonly #averages = new Map<string, number>()
  readonly #counted = new Map<Counter, number>()

  constructor (services: BrokerServices, version: string, intervalMs: number) {
    this.#services = services
    this.#version = version
    this.#intervalMs = intervalMs
    this.#startedAt = services.clock.now()
  }

  publish (): void {
    this.#average()
    for (const [name, value] of this.#values()) this.#tell(`$SYS/broker/${name}`, String(value))
    for (const [name, value] of this.#clusterValues()) this.#tell(`$SYS/cluster/${name}`, String(value))
  }

  #tell (topicName: string, text: string): void {
    if (this.#last.get(topicName) === text) return
    this.#last.set(topicName, text)
    this.#send(topicName, text)
  }

  #send (topicName: string, text: string): void {
    const topic = this.#services.topics.named(topicName)
    this.#services.router.route(new Message({ payload: Buffer.from(text), qos: 0, retain: true, properties: undefined }, topic, undefined), undefined)
  }

  #values (): [name: string, value: string | number][] {
    return [
      ['version', `myelin version ${this.#version}`],
      ['uptime', `${Math.floor((this.#services.clock.now() - this.#startedAt) / 1000)} seconds`],
      ...counts.map(([name, count]): [string, number] => [name, count(this.#services)]),
      ...this.#storeValues(),
      ...[...this.#averages].map(([name, value]): [string, string] => [name, value.toFixed(2)]),
    ]
  }

  /** How the broker stands to its store, and to the other nodes of its cluster. */
  #storeValues (): [name: string, value: number][] {
    const { metrics, journal, cluster } = this.#services
    if (journal === undefined) return []
    const values: [string, number][] = [['store/commits', metrics.storeCommits], ['store/failures', metrics.storeFailures], ['store/uncommitted/bytes', metrics.uncommittedBytes]]
    if (cluster !== undefined) values.push(['cluster/reachable', Number(cluster.isReachable)], ['cluster/outages', metrics.clusterOutages])
    return values
  }

  /** All nodes together, as they last said. */
  #clusterValues (): [name: string, value: number][] {
    const { cluster } = this.#services
    if (cluster === undefined) return []
    const alive = cluster.known.filter(({ isAlive }) => isAlive)
    const sum = (of: (node: NodeState) => number): number => alive.reduce((total, node) => total + of(node), 0)
    return [
      ['nodes/count', alive.length],
      ['clients/connected', sum(({ clientsConnected }) => clientsConnected)],
      ['clients/total', sum(({ sessions }) => sessions)],
      ['subscriptions/count', sum(({ subscriptions }) => subscriptions)],
    ]
  }

  /** Loads for each minute, each an average in which older intervals fade. */
  #average (): void {
    for (const [name, counter] of loads) {
      const total = this.#services.metrics[counter]
      const perMinute = (total - (this.#counted.get(counter) ?? 0)) * 60_000 / this.#intervalMs
      this.#counted.set(counter, total)
      for (const minutes of spans) this.#fade(`load/${name}/${minutes}min`, perMinute, Math.exp(-this.#intervalMs / (minutes * 60_000)))
    }
  }

  #fade (name: string, perMinute: number, weight: number): void {
    this.#averages.set(name, perMinute + weight * ((this.#averages.get(name) ?? 0) - perMinute))
  }
}
