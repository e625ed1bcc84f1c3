import type { QoS } from '../packet/packets.ts'
import type { ClusterChanges } from './cluster-changes.ts'
import type { MaybePromise } from './hooks.ts'
import type { Logger } from './logger.ts'
import type { Message } from './message.ts'
import type { Subscription } from './subscription.ts'

/**
 * Where Session State (section 4.1) and retained messages outlive the process.
 *
 * The broker decides, the store keeps: what has to be kept is gathered into {@link Changes}, and `commit` makes all of it durable
 * at once or nothing of it. A Session is known by a number that is never used twice, since a Client that starts anew may come
 * before its former Session is cleared away.
 *
 * A store is opened once, by one broker. Whatever cannot be done is an `MqttError`: {@link storeInUse}, {@link storeTooNew}, {@link storeFull}
 * or {@link storeFailed}.
 */
export interface Store {
  /** Told in errors and logs. */
  readonly name: string
  /** Milliseconds that changes may gather before they are committed together; 0 commits what one turn of the event loop brought. */
  readonly commitDelayMs: number
  /**
   * Where writing is dear: a QoS 1 message that all its subscribers were sent is written only when they have not acknowledged it
   * after two to three times so many milliseconds. Its publisher waits until the one or the other. 0, or undefined, for the next commit.
   */
  readonly patienceMs?: number
  /** Several brokers may have it open: then each of them needs an emitter, which makes them one. */
  readonly isShared?: boolean
  /**
   * @param logger for what goes wrong where nobody waits for it; what a promise rejects with, the broker logs
   * @throws MqttError when another process has it open, when a newer version has written it, or when it cannot be read
   */
  open (logger?: Logger): MaybePromise<StoreState>
  /** Every Session, one at a time: no more than one of them is in memory. Called once, after `open`. */
  sessions (): Iterable<StoredSession> | AsyncIterable<StoredSession>
  /** Every retained message, one at a time. Called once, after `open`. */
  retained (): Iterable<Message> | AsyncIterable<Message>
  /** What a Client that comes back has to go on with. */
  claim (session: number): MaybePromise<ClaimedSession>
  /**
   * A page of a Session's queue: deliveries from `position` on, in their order, in flight or not.
   * @param maximumMessages at most that many
   * @param maximumBytes of the messages' sizes together; the first one is returned even if it alone is over it
   */
  fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): MaybePromise<readonly DeliveryRecord[]>
  /**
   * Makes the changes durable, all or none of them. Whatever it needs of them it reads before it returns, since they go on
   * changing. Called again only when the promise has settled.
   * @throws MqttError (as a rejection) when nothing was written; `CommitRefused` when that is for what other nodes did
   */
  commit (changes: Changes): Promise<void>
  /** Called once, when nothing is being committed. */
  close (): MaybePromise<void>
}

/** What a store knows of itself. */
export interface StoreState {
  /** The smallest number that no Session has had. */
  readonly nextSession: number
  /** Milliseconds since the epoch: when the broker was last known to run; undefined for a new store. */
  readonly aliveAt: number | undefined
}

/** What is written of a Session; JSON. */
export interface SessionRecord {
  readonly clientIdentifier: string
  /** Seconds; 0xFFFFFFFF never ends (section 3.1.2.11.2). */
  readonly sessionExpiryInterval: number
  /** Its Client was connected when this was written. */
  readonly isConnected: boolean
  /** Milliseconds since the epoch; absent while connected, and where it never ends. */
  readonly expiresAt?: number
  readonly will?: WillRecord
  /** Milliseconds since the epoch; absent while connected, and without a Will. */
  readonly willDueAt?: number
  /** It is over: what is left of it has to be cleared away, and a Will Message published before that. */
  readonly hasEnded?: true
}

/** A Will Message (section 3.1.2.5); JSON, so bytes are base64. */
export interface WillRecord {
  readonly topicName: string
  readonly qos: QoS
  readonly retain: boolean
  readonly payload: string
  /** Seconds. */
  readonly delayInterval: number
  /** Seconds; absent for ever. */
  readonly messageExpiryInterval?: number
  readonly payloadFormatIndicator?: 0 | 1
  readonly contentType?: string
  readonly responseTopic?: string
  readonly correlationData?: string
  readonly userProperties?: readonly (readonly [name: string, value: string])[]
}

/** A Session as it is found when the store was opened. */
export interface StoredSession {
  readonly number: number
  readonly record: SessionRecord
  readonly subscriptions: readonly Subscription[]
  readonly queue: QueueState
}

/** What of a Session's queue is known without reading it. */
export interface QueueState {
  /** Position of the first delivery that is not in flight; deliveries in flight stand before it. */
  readonly first: number
  /** Position after the last delivery; not above `first` when nothing waits. */
  readonly end: number
  /** Sizes of the messages that wait, together; an estimate from above where some of them were taken out of the middle. */
  readonly bytes: number
  /** `total` of the last delivery; 0 for none. */
  readonly total: number
}

/** What a Client that comes back has to go on with. */
export interface ClaimedSession {
  /** QoS 1 and 2 messages that were sent, in the order of sending. */
  readonly inFlight: readonly DeliveryRecord[]
  /** Packet Identifiers of QoS 2 messages that the Client has not released (section 4.3.3). */
  readonly received: readonly number[]
}

/** One QoS 1 or 2 message for one Session. */
export interface DeliveryRecord {
  /** The Session's number. */
  readonly session: number
  /** Counts up in each Session: the order of sending. */
  readonly position: number
  readonly message: Message
  readonly qos: QoS
  readonly retain: boolean
  readonly subscriptionIdentifiers: readonly number[]
  /** The Shared Subscription that chose the Session, `$share/{ShareName}/{filter}`; undefined for none. */
  readonly sharedFilter: string | undefined
  /** Sizes of all messages that were ever queued for the Session, this one included. */
  readonly total: number
  /** 0 while it waits. */
  readonly packetIdentifier: number
  /** PUBREC has come (section 4.3.3). */
  readonly isReleased: boolean
  /** The store's own note on where it has put the message; 0 until then. Only the store reads and sets it. */
  reference: number
}

/** A message with all deliveries that one publication made. */
export interface Enqueued {
  readonly message: Message
  /** Never empty. */
  readonly deliveries: readonly DeliveryRecord[]
}

/** A subscription that was made or replaced, or, without options, removed. */
export interface SubscriptionChange {
  readonly session: number
  readonly topicFilter: string
  readonly subscription: Subscription | undefined
}

/** A Packet Identifier of an inbound QoS 2 message came into use, or was released. */
export interface ReceivedChange {
  readonly session: number
  readonly packetIdentifier: number
  readonly isInUse: boolean
}

/** What one commit writes. Nothing contradicts itself: a delivery is in one of the three lists, an identifier comes once. */
export interface Changes {
  /** By number; undefined removes the Session with its subscriptions and Packet Identifiers. Its deliveries are gone by then. */
  readonly sessions: ReadonlyMap<number, SessionRecord | undefined>
  readonly subscriptions: readonly SubscriptionChange[]
  /** Where several Sessions get a message, its body is kept once, until the last of them has removed it. */
  readonly enqueued: readonly Enqueued[]
  /** Stored deliveries that were sent or released since. */
  readonly sent: readonly DeliveryRecord[]
  /** Stored deliveries that are done with, and those of a queue that is cleared. */
  readonly removed: readonly DeliveryRecord[]
  readonly received: readonly ReceivedChange[]
  /** By Topic Name; undefined removes the message. */
  readonly retained: ReadonlyMap<string, Message | undefined>
  /** Milliseconds since the epoch. */
  readonly aliveAt: number
  /** For a store with an emitter. */
  readonly cluster?: ClusterChanges | undefined
}
