import { Fifo } from '../../base/fifo.ts'
import { messagesInFrame, type InboxEntry, type InboxFrame } from '../../contract/emitter.ts'
import { Origin, type Message } from '../../contract/message.ts'
import { QoS } from '../../packet/packets.ts'
import { PendingMessage, type Waiter } from '../../store/pending-message.ts'
import type { ClusterServices } from '../node/cluster-services.ts'
import { FrameCodec, type ConfirmationItem, type FrameItem, type KickItem, type MessageItem, type YieldedItem, type YieldItem } from './frames.ts'

export type Notice = InboxEntry & { readonly kind: 'evicted' }

/** What comes through the inbox beside messages. */
export interface InboundEvents {
  confirmed (item: ConfirmationItem): void
  kicked (item: KickItem): void
  /** Another node wants a Session of this one, or has let a Client go that this one wanted. */
  wanted (item: YieldItem): void
  yielded (item: YieldedItem): void
  /** Another node has a Session of this one. */
  evicted (notice: Notice): void
  /** All entries up to that position are done with. */
  settled (position: number): void
  /** A QoS 2 message was given to a member of a Shared Subscription: that is part of the next commit. */
  taken (origin: number): void
}

/** Hands on what other nodes send, and knows how much of it is done with: acknowledged by all its Sessions, or stored for them. */
export class Inbound {
  readonly #services: ClusterServices
  readonly #events: InboundEvents
  readonly #frames = new FrameCodec()
  #entries = new Fifo<Entry>()
  /** Of the last entry that was handed on. */
  #position = 0
  #waiters: { readonly position: number, readonly resolve: () => void }[] = []

  constructor (services: ClusterServices, events: InboundEvents) {
    this.#services = services
    this.#events = events
  }

  received (received: InboxEntry): void {
    const entry = new Entry(received.position, this.#advance)
    this.#entries.push(entry)
    if (received.kind === 'frame') this.#handOn(received, entry)
    else this.#events.evicted(received)
    this.#handedOn(entry)
  }

  /** Resolves when all entries up to that position have been handed on. */
  reached (position: number): Promise<void> {
    if (this.#position >= position) return Promise.resolve()
    return new Promise(resolve => { this.#waiters.push({ position, resolve }) })
  }

  /** Messages of a frame, but the first `skip` of them and those in the places that are `taken`. */
  * messages (frame: Buffer, skip: number, taken?: ReadonlySet<number>): Generator<MessageItem> {
    let index = -1
    for (const item of this.#frames.items(frame)) {
      if (item.kind !== 'message' || ++index < skip || taken?.has(index) === true) continue
      item.message.origin = Origin.session
      yield item
    }
  }

  /** This node begins anew, with another inbox. */
  reset (): void {
    this.#entries = new Fifo()
    this.#position = 0
    for (const { resolve } of this.#waiters.splice(0)) resolve()
  }

  #handOn ({ position, bytes }: InboxFrame, entry: Entry): void {
    let index = 0
    for (const item of this.#frames.items(bytes)) {
      if (item.kind === 'message') {
        item.message.origin = position * messagesInFrame + index++
        this.#route(item, entry)
      } else this.#tell(item)
    }
  }

  #tell (item: Exclude<FrameItem, MessageItem>): void {
    switch (item.kind) {
      case 'confirmation': this.#events.confirmed(item); break
      case 'kick': this.#events.kicked(item); break
      case 'yield': this.#events.wanted(item); break
      case 'yielded': this.#events.yielded(item); break
    }
  }

  #handedOn (entry: Entry): void {
    this.#position = entry.position
    entry.release()
    for (const { resolve } of this.#waiters.filter(({ position }) => position <= entry.position)) resolve()
    if (this.#waiters.length > 0) this.#waiters = this.#waiters.filter(({ position }) => position > entry.position)
  }

  #route ({ message, isForAll, shares }: MessageItem, entry: Entry): void {
    const { router, sessions } = this.#services
    const publisher = message.publisher === undefined ? undefined : sessions.get(message.publisher)
    router.routeFromRemote(message, publisher, isForAll, shares)
    if (shares.length > 0 && message.qos === QoS.exactlyOnce) this.#events.taken(message.origin)
    this.#track(message, entry)
  }

  /** An entry whose messages are not settled is open. */
  #track ({ pending }: Message, entry: Entry): void {
    if (!(pending instanceof PendingMessage) || pending.isSettled || pending.isToldTo(entry)) return
    entry.hold()
    pending.tell(entry)
  }

  readonly #advance = (): void => {
    let settled = 0
    for (let oldest = this.#entries.peek(); oldest?.isSettled === true; oldest = this.#entries.peek()) {
      settled = oldest.position
      this.#entries.shift()
    }
    if (settled > 0) this.#events.settled(settled)
  }
}

/** One entry of the inbox. It is open until it has been handed on, and each of its messages is acknowledged or stored. */
class Entry implements Waiter {
  readonly position: number
  readonly #onSettled: () => void
  #open = 1

  constructor (position: number, onSettled: () => void) {
    this.position = position
    this.#onSettled = onSettled
  }

  get isSettled (): boolean { return this.#open === 0 }

  hold (): void { this.#open++ }

  release (): void {
    if (--this.#open === 0) this.#onSettled()
  }

  stored (): void { this.release() }

  /** It was given up, and those who miss it were told. */
  refused (): boolean {
    this.release()
    return false
  }
}
