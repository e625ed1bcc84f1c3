import type { Emitter, ImportedSession, InboxFrame, Pulse } from '../../contract/emitter.ts'
import { storeFailed } from '../../contract/store-errors.ts'
import type { ClusterServices } from '../node/cluster-services.ts'

/** What adopting needs of the cluster. */
export interface Adopter {
  /** Another one when this node has been taken for dead: then all that it had and was not stored is lost. */
  readonly generation: number
  /** Runs what brings Sessions to this node. */
  whileStill<T> (change: () => Promise<T>): Promise<T>
  import (session: ImportedSession): void
  /** Hands messages on that were for members of Shared Subscriptions of a node that is gone; in one commit with that they are, so that nobody does it again. */
  redispatch (generation: number, frame: InboxFrame): void
  /** Resolves when all of that is stored. */
  written (): Promise<void>
}

/** Takes over what nodes leave that have died, or gone. */
export class Adoption {
  readonly #emitter: Emitter
  readonly #services: ClusterServices
  readonly #adopter: Adopter
  readonly #busy = new Set<number>()
  /** Milliseconds since the epoch: from when on this node could have heard of the others. */
  #hearsSince = Infinity

  constructor (emitter: Emitter, services: ClusterServices, adopter: Adopter) {
    this.#emitter = emitter
    this.#services = services
    this.#adopter = adopter
  }

  /** A beat was answered. After an outage everybody seems dead: only who has listened for a whole lease can tell. */
  heard ({ dead, left }: Pulse): void {
    const now = this.#services.clock.now()
    this.#hearsSince = Math.min(this.#hearsSince, now)
    for (const generation of left) this.#begin(generation)
    if (now - this.#hearsSince < this.#emitter.leaseMs) return
    for (const generation of dead) this.#begin(generation)
  }

  /** A beat was not answered. */
  deaf (): void { this.#hearsSince = Infinity }

  #begin (generation: number): void {
    if (this.#busy.has(generation)) return
    this.#busy.add(generation)
    this.#adopt(generation).catch((error: unknown) => {
      this.#services.logger.error({ err: error, generation }, 'the Sessions of a node that is gone could not all be taken over; it is tried again')
    }).finally(() => { this.#busy.delete(generation) })
  }

  /** @throws MqttError when this node is taken for dead meanwhile: what it was handing on is then still in the inbox, for whoever tries next */
  async #adopt (generation: number): Promise<void> {
    const { generation: own } = this.#adopter
    const count = await this.#pages(generation)
    if (count === undefined) return
    for await (const frame of this.#emitter.inboxOf(generation)) this.#adopter.redispatch(generation, frame)
    await this.#adopter.written()
    if (this.#adopter.generation !== own) throw storeFailed('this node was taken for dead itself, and has joined anew')
    await this.#emitter.bury(generation)
    this.#services.logger.info({ generation, sessions: count }, 'took over the Sessions of a node that is gone')
  }

  /** @returns how many came; undefined when another node is at it */
  async #pages (generation: number): Promise<number | undefined> {
    let count: number | undefined
    const pages = this.#emitter.adopt(generation)[Symbol.asyncIterator]()
    const next = (): Promise<readonly ImportedSession[] | undefined> => this.#adopter.whileStill(() => this.#page(pages))
    for (let page = await next(); page !== undefined; page = await next()) count = (count ?? 0) + page.length
    return count
  }

  async #page (pages: AsyncIterator<readonly ImportedSession[]>): Promise<readonly ImportedSession[] | undefined> {
    const page = await pages.next()
    if (page.done === true) return undefined
    for (const session of page.value) this.#adopter.import(session)
    return page.value
  }
}
