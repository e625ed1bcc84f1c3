import { ReasonCode } from '../../base/reason-codes.ts'
import type { ClusterServices } from '../node/cluster-services.ts'
import { FrameCodec, type YieldItem } from '../inbox/frames.ts'
import type { Outbound } from '../outbound/outbound.ts'

/** Milliseconds that a living node is given to write what it has of a Client; longer takes only one that is dead, asleep or very busy. */
const patienceMs = 100
/** Milliseconds that such a node is not asked again. */
const silenceMs = 1_000
/** Milliseconds after which a Client that was let go, and did not come to the other node after all, is said to be offline. */
const absenceMs = 10_000

/**
 * Before a node takes a Session from a living one at which its Client is online, it asks that one to let the Client go: so what the Client was sent and has not
 * acknowledged is written by then, and comes again under its Packet Identifiers [MQTT-4.4.0-1].
 */
export class HandOver {
  readonly #services: ClusterServices
  readonly #outbound: Outbound
  readonly #frames = new FrameCodec()
  /** By Client Identifier: who waits for an answer. */
  readonly #waiting = new Map<string, () => void>()
  /** By generation, milliseconds since the epoch: until when it is not asked. */
  readonly #silent = new Map<number, number>()

  constructor (services: ClusterServices, outbound: Outbound) {
    this.#services = services
    this.#outbound = outbound
  }

  /** Resolves when the node has let the Client go, or has had its time. */
  async ask (generation: number, own: number, clientIdentifier: string): Promise<void> {
    const { clock } = this.#services
    if ((this.#silent.get(generation) ?? 0) > clock.now()) return
    this.#silent.delete(generation)
    this.#outbound.control(generation, this.#frames.yield(own, clientIdentifier))
    await new Promise<void>(resolve => { this.#await(generation, clientIdentifier, resolve) })
  }

  #await (generation: number, clientIdentifier: string, done: () => void): void {
    const { clock } = this.#services
    const cancel = clock.after(patienceMs, () => {
      this.#silent.set(generation, clock.now() + silenceMs)
      this.yielded(clientIdentifier)
    })
    this.#waiting.set(clientIdentifier, () => {
      cancel()
      done()
    })
  }

  yielded (clientIdentifier: string): void {
    this.#waiting.get(clientIdentifier)?.()
    this.#waiting.delete(clientIdentifier)
  }

  /** The answer is part of the commit that writes what is to be found at the other node. */
  asked ({ generation, clientIdentifier }: YieldItem): void {
    this.#letGo(clientIdentifier)
    this.#outbound.control(generation, this.#frames.yielded(clientIdentifier))
  }

  /** The Client stays online, elsewhere. One whose Session ends with its connection has nothing to find there. */
  #letGo (clientIdentifier: string): void {
    const { sessions, clock } = this.#services
    const session = sessions.get(clientIdentifier)
    if (session?.sink === undefined || session.sessionExpiryInterval === 0) return
    session.sink.disconnect(ReasonCode.sessionTakenOver)
    this.#outbound.staysOnline(clientIdentifier)
    clock.after(absenceMs, () => {
      if (sessions.get(clientIdentifier) === session && !session.isConnected) this.#outbound.presence(clientIdentifier, false)
    })
  }
}
