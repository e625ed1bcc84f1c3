import { Fifo } from '../base/fifo.ts'
import { messagesInFrame, type InboxFrame } from '../contract/emitter.ts'
import { Origin, type Message } from '../contract/message.ts'
import { QoS } from '../packet/packets.ts'
import type { Session } from '../session/session.ts'
import { PendingMessage, type Waiter } from '../store/pending-message.ts'
import type { ClusterServices } from './cluster-services.ts'
import { FrameCodec, type ConfirmationItem, type KickItem, type MessageItem } from './frames.ts'
import { deliverTo } from './outbound-batch.ts'

/** What comes through the inbox beside messages. */
export interface InboundEvents {
  confirmed (item: ConfirmationItem): void
  kicked (item: KickItem): void
  /** All entries up to that position are done with. */
  settled (position: number): void
  /** A QoS 2 message was given to a member of a Shared Subscription: that is part of the next commit. */
  taken (origin: number): void
}

interface Recorded { readonly entry: Entry, readonly message: Message, readonly isForAll: boolean }

/** Hands on what other nodes send, and knows how much of it is done with: acknowledged by all its Sessions, or stored for them. */
export class Inbound {
  readonly #services: ClusterServices
  readonly #events: InboundEvents
  readonly #frames = new FrameCodec()
  #entries = new Fifo<Entry>()
  /** Of the last entry that was handed on. */
  #position = 0
  #waiters: { readonly position: number, readonly resolve: () => void }[] = []
  /** What has come while Sessions were on their way to this node; undefined when none are. */
  #recorded: Fifo<Recorded> | undefined = undefined

  constructor (services: ClusterServices, events: InboundEvents) {
    this.#services = services
    this.#events = events
  }

  received ({ position, bytes }: InboxFrame): void {
    const entry = new Entry(position, this.#advance)
    this.#entries.push(entry)
    let index = 0
    for (const item of this.#frames.items(bytes)) {
      switch (item.kind) {
        case 'message':
          item.message.origin = position * messagesInFrame + index++
          this.#route(item, entry)
          break
        case 'confirmation':
          this.#events.confirmed(item)
          break
        case 'kick':
          this.#events.kicked(item)
          break
      }
    }
    this.#handedOn(entry)
  }

  /** Nothing of that entry is to be handed on. */
  passed (position: number): void {
    const entry = new Entry(position, this.#advance)
    this.#entries.push(entry)
    this.#handedOn(entry)
  }

  /** Resolves when all entries up to that position have been handed on. */
  reached (position: number): Promise<void> {
    if (this.#position >= position) return Promise.resolve()
    return new Promise(resolve => { this.#waiters.push({ position, resolve }) })
  }

  #handedOn (entry: Entry): void {
    this.#position = entry.position
    entry.release()
    for (const { resolve } of this.#waiters.filter(({ position }) => position <= entry.position)) resolve()
    if (this.#waiters.length > 0) this.#waiters = this.#waiters.filter(({ position }) => position > entry.position)
  }

  /** Sessions are on their way to this node: what comes for them meanwhile is remembered. */
  record (): void { this.#recorded ??= new Fifo() }

  /** None is any more. */
  stopRecording (): void {
    const recorded = this.#recorded ?? none
    this.#recorded = undefined
    for (const { entry } of recorded) entry.release()
  }

  /** Hands a Session what has come for it since it became this node's own. */
  replay (session: Session, since: number): void {
    this.#forgetRecorded(since)
    for (const { entry, message, isForAll } of this.#recorded ?? none) {
      deliverTo(session, message, isForAll)
      this.#track(message, entry)
    }
  }

  /** Sessions come in the order in which they became this node's own: what came before one of them, comes before the next. */
  #forgetRecorded (since: number): void {
    const recorded = this.#recorded
    for (let oldest = recorded?.peek(); oldest !== undefined && oldest.entry.position <= since; oldest = recorded?.peek()) {
      recorded?.shift()
      oldest.entry.release()
    }
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
    if (this.#recorded !== undefined) this.#recorded = new Fifo()
  }

  #route ({ message, isForAll, shares }: MessageItem, entry: Entry): void {
    const { router, sessions } = this.#services
    const publisher = message.publisher === undefined ? undefined : sessions.get(message.publisher)
    router.routeFromRemote(message, publisher, isForAll, shares)
    if (shares.length > 0 && message.qos === QoS.exactlyOnce) this.#events.taken(message.origin)
    this.#track(message, entry)
    if (this.#recorded === undefined) return
    entry.hold()
    this.#recorded.push({ entry, message: message.keep(), isForAll })
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

const none: readonly Recorded[] = []

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
