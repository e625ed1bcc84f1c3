import { ReasonCode } from '../../lib/base/reason-codes.ts'
import { PacketType, type ConnectPacket, type DisconnectPacket, type ProtocolVersion } from '../../lib/packet/packets.ts'
import { will } from '../support/exchanges.ts'
import { connectPacket } from '../support/harness.ts'
import type { Receiver } from './ledger.ts'
import { Visit } from './clients/visit.ts'
import type { World } from './world.ts'

/** How a Client with a Will Message ends. Times in seconds; a day is more than any run takes. */
interface Kind {
  readonly name: string
  readonly version: ProtocolVersion
  readonly ending: 'killed' | 'vanishes' | 'disconnects' | 'disconnectsWithWill' | 'returns'
  readonly cleanStart?: boolean
  readonly delay?: number
  readonly expiry?: number
}

const day = 86_400

const kinds: readonly Kind[] = [
  { name: 'delayed', version: 5, delay: 1, expiry: day, ending: 'killed' },
  { name: 'at-the-end-of-its-session', version: 5, delay: day, expiry: 1, ending: 'killed' },
  { name: 'without-a-session', version: 4, cleanStart: true, ending: 'killed' },
  { name: 'with-a-session', version: 4, ending: 'killed' },
  { name: 'vanished', version: 5, delay: 1, expiry: day, ending: 'vanishes' },
  { name: 'vanished-without-a-session', version: 4, cleanStart: true, ending: 'vanishes' },
  { name: 'left', version: 5, delay: 1, expiry: day, ending: 'disconnects' },
  { name: 'left-with-will', version: 5, delay: 1, expiry: day, ending: 'disconnectsWithWill' },
  { name: 'returned', version: 5, delay: day, expiry: day, ending: 'returns' },
]

/** One Client, and how often its Will Message may be published. */
interface Case {
  readonly kind: Kind
  readonly topicName: string
  readonly connect: ConnectPacket
  copies: 'once' | 'never' | 'unsure'
  /** CONNACK came then. */
  accepted: Moment | undefined
  /** It had said goodbye, and the broker closed the connection. */
  left: Moment | undefined
}

interface Moment { readonly incarnation: number, readonly event: number }

/** Clients with Will Messages, new ones for each broker that is killed. */
export class Wills {
  readonly #world: World
  readonly #cases: Case[] = []

  constructor (world: World) { this.#world = world }

  /** Those that have to be published. */
  get due (): readonly string[] { return this.#cases.filter(one => this.#copiesOf(one) === 'once').map(({ topicName }) => topicName) }

  /** Lets the next one of them come. */
  begin (): void {
    const kind = kinds[this.#cases.length % kinds.length] as Kind
    const topicName = `will/${this.#cases.length}/${kind.name}`
    const one: Case = { kind, topicName, connect: connectOf(kind, topicName), copies: 'unsure', accepted: undefined, left: undefined }
    this.#cases.push(one)
    void this.#live(one)
  }

  /** Checks how often each one came. */
  check (receiver: Receiver): void {
    for (const one of this.#cases) {
      const count = receiver.wills.get(one.topicName) ?? 0
      const copies = this.#copiesOf(one)
      const isRight = count === 1 ? copies !== 'never' : count === 0 && copies !== 'once'
      if (!isRight) this.#world.fault(`${receiver.name} got ${one.topicName} ${count} times, expected ${copies}`)
    }
  }

  /** What CONNACK does not promise, and a DISCONNECT, is certain once something that came later is stored. */
  #copiesOf ({ copies, kind, accepted, left }: Case): Case['copies'] {
    if (this.#isStored(left)) return 'never'
    return copies === 'once' && kind.cleanStart === true && !this.#isStored(accepted) ? 'unsure' : copies
  }

  #isStored (moment: Moment | undefined): boolean {
    return moment !== undefined && this.#world.isCommitted(moment.incarnation, moment.event)
  }

  async #live (one: Case): Promise<void> {
    const { ending } = one.kind
    const visit = await Visit.begin(this.#world, one.connect)
    if (await visit.accepted === undefined) return
    one.accepted = { incarnation: visit.incarnation, event: this.#world.event() }
    one.copies = ending === 'disconnects' ? 'unsure' : ending === 'returns' ? 'never' : 'once'
    if (ending === 'vanishes') visit.vanish()
    else if (ending === 'disconnectsWithWill') visit.send(disconnect(ReasonCode.disconnectWithWillMessage))
    else if (ending === 'disconnects') await this.#leave(one, visit)
    else if (ending === 'returns') await visit.ended.then(() => this.#return(one))
  }

  async #leave (one: Case, visit: Visit): Promise<void> {
    const { incarnation } = visit
    visit.send(disconnect(ReasonCode.success))
    await visit.ended
    const { broker } = this.#world
    if (broker.incarnation === incarnation && broker.port !== undefined) one.left = { incarnation, event: this.#world.event() }
  }

  /** Comes back long before its Will Message is due. */
  async #return (one: Case): Promise<void> {
    const again = await Visit.begin(this.#world, one.connect)
    const connack = await again.accepted
    if (connack?.sessionPresent === false) this.#world.fault(`${one.topicName} has lost its Session`)
    again.send(disconnect(ReasonCode.success))
  }
}

function disconnect (reasonCode: ReasonCode): DisconnectPacket {
  return { type: PacketType.disconnect, reasonCode, properties: undefined }
}

function connectOf ({ version, cleanStart = false, delay, expiry }: Kind, topicName: string): ConnectPacket {
  const properties = delay === undefined ? undefined : { willDelayInterval: delay }
  return connectPacket({
    clientIdentifier: topicName.replaceAll('/', '-'), protocolVersion: version, cleanStart,
    will: will({ topicName, qos: 2, payload: Buffer.from(topicName), properties }),
    properties: expiry === undefined ? undefined : { sessionExpiryInterval: expiry },
  })
}
