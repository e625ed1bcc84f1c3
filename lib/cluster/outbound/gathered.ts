import type { SessionReference } from '../../contract/cluster-changes.ts'
import type { OutgoingMessage } from './outgoing-message.ts'

/** What has gathered for the other nodes until the next commit. */
export interface Gathered {
  readonly messages: readonly OutgoingMessage[]
  /** By generation: items for the node itself. */
  readonly controls: ReadonlyMap<number, readonly Buffer[]>
  /** By generation: the position in the log up to which this node knows what that one wants. */
  readonly confirmed: ReadonlyMap<number, number>
  readonly released: readonly SessionReference[]
  readonly begun: readonly SessionReference[]
  readonly presence: ReadonlyMap<string, boolean>
  readonly recovered: readonly number[]
  readonly expired: ReadonlyMap<string, number>
  readonly taken: readonly number[]
  readonly handedOn: ReadonlyMap<number, number>
}

/** To be added to. */
export class Gathering implements Gathered {
  messages: OutgoingMessage[] = []
  readonly controls: Map<number, Buffer[]> = new Map<number, Buffer[]>()
  readonly confirmed: Map<number, number> = new Map<number, number>()
  released: SessionReference[] = []
  begun: SessionReference[] = []
  readonly presence: Map<string, boolean> = new Map<string, boolean>()
  recovered: number[] = []
  readonly expired: Map<string, number> = new Map<string, number>()
  taken: number[] = []
  readonly handedOn: Map<number, number> = new Map<number, number>()

  get isEmpty (): boolean {
    return this.messages.length + this.released.length + this.begun.length + this.recovered.length + this.taken.length === 0 &&
      this.controls.size + this.confirmed.size + this.presence.size + this.expired.size + this.handedOn.size === 0
  }

  control (generation: number, item: Buffer): void {
    const items = this.controls.get(generation)
    if (items === undefined) this.controls.set(generation, [item])
    else items.push(item)
  }

  /** Takes in what came later. */
  add (later: Gathered): void {
    this.messages = [...this.messages, ...later.messages]
    for (const [generation, items] of later.controls) for (const item of items) this.control(generation, item)
    for (const [generation, position] of later.confirmed) this.confirmed.set(generation, position)
    this.released = [...this.released, ...later.released]
    this.begun = [...this.begun, ...later.begun]
    for (const [clientIdentifier, isOnline] of later.presence) this.presence.set(clientIdentifier, isOnline)
    this.recovered = [...this.recovered, ...later.recovered]
    for (const [topicName, expiresAt] of later.expired) this.expired.set(topicName, expiresAt)
    this.taken = [...this.taken, ...later.taken]
    for (const [generation, position] of later.handedOn) this.handedOn.set(generation, position)
  }

  /** A Session is another node's now. */
  forget (session: number): void {
    this.begun = this.begun.filter(begun => begun.session !== session)
    this.recovered = this.recovered.filter(recovered => recovered !== session)
  }
}
