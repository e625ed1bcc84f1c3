import type { ClusterChanges, Send } from '../../contract/cluster-changes.ts'
import type { Message } from '../../contract/message.ts'
import { QoS } from '../../packet/packets.ts'
import type { ClusterBatch } from '../../store/journal-peer.ts'
import type { Gathering } from './gathered.ts'

/** What a commit tells the other nodes, beside what has gathered for them. */
export interface Told extends Pick<ClusterChanges, 'routes' | 'settled' | 'publishers'> {
  readonly sends: readonly Send[]
  /** Topics whose retained message is part of the commit. */
  readonly retained: ReadonlySet<string>
  /** Moves that were known of when it was decided who gets what. */
  readonly moves: number
}

/** Who is told what has become of it. */
export interface BatchOwner {
  stored (batch: OutboundBatch): void
  /** It was not written. */
  takeBack (batch: OutboundBatch): void
}

/** The cluster's part of one commit. */
export class OutboundBatch implements ClusterBatch {
  readonly gathering: Gathering
  readonly told: Told
  readonly #owner: BatchOwner

  constructor (gathering: Gathering, told: Told, owner: BatchOwner) {
    this.gathering = gathering
    this.told = told
    this.#owner = owner
  }

  get routes (): ClusterChanges['routes'] { return this.told.routes }
  get sends (): readonly Send[] { return this.told.sends }
  get settled (): number { return this.told.settled }
  get publishers (): readonly number[] { return this.told.publishers }
  get presence (): ClusterChanges['presence'] { return this.gathering.presence }
  get expired (): ClusterChanges['expired'] { return this.gathering.expired }
  get taken (): ClusterChanges['taken'] { return this.gathering.taken }
  get handedOn (): ClusterChanges['handedOn'] { return this.gathering.handedOn }
  get released (): ClusterChanges['released'] { return this.gathering.released }
  get begun (): ClusterChanges['begun'] { return this.gathering.begun }
  get recovered (): ClusterChanges['recovered'] { return this.gathering.recovered }

  /** QoS 0 may go to where nobody wants it any more. */
  get moves (): number | undefined {
    return this.gathering.messages.some(({ message }) => message.qos > QoS.atMostOnce) ? this.told.moves : undefined
  }

  get hasChanges (): boolean { return this.settled + this.sends.length + this.routes.size > 0 || !this.gathering.isEmpty }

  stored (): void { this.#owner.stored(this) }

  refused (kept: ReadonlySet<Message>): void {
    this.gathering.messages = this.gathering.messages.filter(({ message }) => kept.has(message))
    this.#owner.takeBack(this)
  }

  unseal (): void { this.#owner.takeBack(this) }
}
