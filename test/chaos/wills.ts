import { ReasonCode } from '../../lib/base/reason-codes.ts'
import { PacketType, type ConnectPacket, type ProtocolVersion } from '../../lib/packet/packets.ts'
import type { Receiver } from '../crash/ledger.ts'
import { subscribePacket } from '../crash/clients/raw-subscriber.ts'
import { Visit } from '../crash/clients/visit.ts'
import { will } from '../support/exchanges.ts'
import { connectPacket } from '../support/harness.ts'
import { Place, type Chaos } from './place.ts'

/** How a Client with a Will Message ends. Those that stay go with their node, or, if nothing happens to it, when it is calm again. */
interface Kind {
  readonly name: string
  readonly version: ProtocolVersion
  readonly ending: 'stays' | 'vanishes' | 'leaves' | 'returns'
  /** Seconds. */
  readonly delay?: number
  readonly expiry?: number
}

const day = 86_400
const longestStayMs = 400

/** While things happen. What a Client says that is about to be lost with its node cannot be known to have arrived: these say nothing. */
const stormy: readonly Kind[] = [
  { name: 'stayed', version: 5, ending: 'stays' },
  { name: 'stayed-with-a-session', version: 5, expiry: day, ending: 'stays' },
  { name: 'stayed-3.1.1', version: 4, ending: 'stays' },
  { name: 'stayed-and-delayed', version: 5, delay: 1, expiry: day, ending: 'stays' },
  { name: 'vanished', version: 5, ending: 'vanishes' },
  { name: 'vanished-and-delayed', version: 5, delay: 1, expiry: day, ending: 'vanishes' },
]
const calm: readonly Kind[] = [
  { name: 'left', version: 5, expiry: day, ending: 'leaves' },
  { name: 'returned', version: 5, delay: 1, expiry: day, ending: 'returns' },
]

interface Case {
  readonly kind: Kind
  readonly topicName: string
  readonly connect: ConnectPacket
  copies: 'once' | 'never' | 'unsure'
}

/** Clients with Will Messages, new ones for each thing that happens. */
export class Wills {
  readonly #chaos: Chaos
  readonly #patienceMs: number
  readonly #cases: Case[] = []
  /** Those that are there still. */
  readonly #staying = new Set<Visit>()
  #living: Promise<unknown>[] = []

  constructor (chaos: Chaos, patienceMs: number) {
    this.#chaos = chaos
    this.#patienceMs = patienceMs
  }

  get clientIdentifiers (): string[] { return this.#cases.map(({ connect }) => connect.clientIdentifier) }

  /** How many have to be published. */
  get due (): number { return this.#cases.filter(({ copies }) => copies === 'once').length }

  /** Lets Clients come to all nodes. */
  begin (): void {
    for (const kind of stormy) this.#begin(kind)
  }

  /** Lets those go that are there still, and others come and go. Resolves when all that is due was published. */
  async end (watchers: readonly Receiver[]): Promise<void> {
    for (const kind of calm) this.#begin(kind)
    for (const visit of this.#staying) visit.vanish()
    await Promise.all(this.#living.splice(0))
    const due = this.#cases.filter(({ copies }) => copies === 'once')
    await this.#chaos.until(() => due.every(({ topicName }) => watchers.every(({ wills }) => wills.has(topicName))), this.#patienceMs)
  }

  /** How often each one came to those who were there. */
  check (watcher: Receiver): void {
    for (const { topicName, copies } of this.#cases) {
      const count = watcher.wills.get(topicName) ?? 0
      const isRight = count === 1 ? copies !== 'never' : count === 0 && copies !== 'once'
      if (!isRight) this.#chaos.fault(`${watcher.name} got ${topicName} ${count} times, expected ${copies}`)
    }
  }

  #begin (kind: Kind): void {
    const number = this.#cases.length
    const topicName = `will/${number}/${kind.name}`
    const one: Case = { kind, topicName, connect: connectOf(kind, topicName), copies: 'unsure' }
    this.#cases.push(one)
    this.#living.push(this.#live(one, new Place(this.#chaos, topicName, number)))
  }

  async #live (one: Case, place: Place): Promise<void> {
    const visit = await Visit.begin(place, one.connect)
    const life = { isOver: false }
    void visit.ended.then(() => { life.isOver = true })
    this.#staying.add(visit)
    if ((await visit.accepted)?.reasonCode === ReasonCode.success) {
      visit.send(subscribePacket([`seen/${one.topicName}`], 1))
      await visit.subscribed
      const { node, incarnation } = place.broker
      void visit.ended.then(() => { if (node.closed.has(incarnation) && one.copies === 'once') one.copies = 'unsure' }) // who shuts down publishes no Wills
      if (!life.isOver) await this.#go(one, visit, place)
    }
    await visit.ended
    this.#staying.delete(visit)
  }

  /** It is certain that the cluster knows it. */
  async #go (one: Case, visit: Visit, place: Place): Promise<void> {
    const { ending } = one.kind
    one.copies = ending === 'stays' || ending === 'vanishes' ? 'once' : 'never'
    if (ending === 'vanishes') await place.sleep(place.random.between(0, longestStayMs))
    const goneAt = Date.now()
    if (ending === 'vanishes' || ending === 'returns') visit.vanish()
    if (ending === 'leaves') visit.send({ type: PacketType.disconnect, reasonCode: ReasonCode.success, properties: undefined })
    if (ending === 'returns') await this.#return(one, place, goneAt)
  }

  /** At another node, before its Will Message is due: when the machine is too busy for that, nothing is certain of it. */
  async #return (one: Case, place: Place, goneAt: number): Promise<void> {
    place.broker.move()
    const again = await Visit.begin(place, { ...one.connect, will: undefined })
    if ((await again.accepted)?.sessionPresent === false) this.#chaos.fault(`${one.topicName} has lost its Session`)
    if (Date.now() - goneAt >= (one.kind.delay ?? 0) * 1000) one.copies = 'unsure'
    again.send({ type: PacketType.disconnect, reasonCode: ReasonCode.success, properties: undefined })
    await again.ended
  }
}

function connectOf ({ version, delay, expiry }: Kind, topicName: string): ConnectPacket {
  const properties = delay === undefined ? undefined : { willDelayInterval: delay }
  return connectPacket({
    clientIdentifier: topicName.replaceAll('/', '-'), protocolVersion: version, cleanStart: expiry === undefined,
    will: will({ topicName, qos: 2, payload: Buffer.from(topicName), properties }),
    properties: expiry === undefined ? undefined : { sessionExpiryInterval: expiry },
  })
}
