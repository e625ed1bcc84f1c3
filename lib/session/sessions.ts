import { Deadlines } from '../base/deadlines.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import { QoS } from '../packet/packets.ts'
import type { Delivery } from './delivery.ts'
import { neverExpires, Session } from './session.ts'
import { sessionRecordOf } from './session-record.ts'
import type { SessionServices } from './session-services.ts'

/** What `Sessions` reports upward. */
export interface SessionEvents {
  /** The Will Message is to be published now; the Session has already forgotten it. */
  willDue (session: Session, will: NonNullable<Session['will']>): void
  /** The Session has ended: its subscriptions are to be removed. */
  ended (session: Session): void
}

/** Sessions that one sweep ends, and looks into: what is more waits for the next, so that the event loop never stalls. */
const sweptAtOnce = 1_000

/** All Sessions by Client Identifier, and when those without a connection fall due. */
export class Sessions {
  readonly #sessions = new Map<string, Session>()
  /** Client Identifiers, not Sessions: one that has ended must not live on until its time has come. */
  #deadlines: Deadlines<string> = new Deadlines<string>()
  readonly #services: SessionServices
  readonly #events: SessionEvents
  /** Sessions of the store that had ended but for their Will Messages. */
  #bequeathed: Session[] = []
  /** Sessions that have ended, and of which something may be left in the store. */
  readonly #clearing = new Set<Session>()
  /** Where the look into the Sessions' queues goes on. It must not wait: an iterator that does keeps each table that its Map has outgrown, and all the Sessions in it. */
  #cursor: Iterator<Session, undefined> | undefined = undefined

  constructor (services: SessionServices, events: SessionEvents) {
    this.#services = services
    this.#events = events
  }

  get size (): number { return this.#sessions.size }

  /** Entries in the list of deadlines, some of which may be out of date. */
  get scheduledCount (): number { return this.#deadlines.length }

  get (clientIdentifier: string): Session | undefined { return this.#sessions.get(clientIdentifier) }

  [Symbol.iterator] (): IterableIterator<Session> { return this.#sessions.values() }

  create (clientIdentifier: string): Session {
    const session = new Session(clientIdentifier, this.#services)
    this.#sessions.set(clientIdentifier, session)
    return session
  }

  /** The Client is back: neither its delayed Will Message nor its expiry is due any more [MQTT-3.1.3-9]. */
  claim (session: Session): void {
    session.expiresAt = session.willDueAt = undefined
    session.will = undefined
  }

  /** Writes down what has changed, if it is kept at all. */
  save (session: Session): void { session.log?.save(sessionRecordOf(session)) }

  /** A Session that was found in the store; its expiry and its Will fall due when they would have. */
  restore (session: Session): void {
    this.#sessions.set(session.clientIdentifier, session)
    this.#schedule(session)
  }

  /** One that had ended, and was not cleared away before the broker stopped; if its Will Message waited for a hook, the next sweep publishes that. */
  clearAway (session: Session): void {
    if (session.will !== undefined) {
      this.#bequeathed.push(session)
      return
    }
    session.log?.close(sessionRecordOf(session))
    this.#clear(session)
  }

  /** Looks after one Session now, if it is due. */
  settle (session: Session): void { this.#settle(session, this.#services.clock.now()) }

  /** The Session is another node's now; whoever still holds it loses the connection. */
  abandon (session: Session): void {
    this.#sessions.delete(session.clientIdentifier)
    session.expiresAt = session.willDueAt = undefined
    session.abandon()
    session.sink?.disconnect(ReasonCode.sessionTakenOver)
  }

  /** A Session that has ended here is another node's: it goes on there, with all that is left of it. @param number of that one; all of them where it is absent */
  disown (number?: number): void {
    const isMeant = (session: Session): boolean => number === undefined || session.number === number
    for (const session of this.#clearing) if (isMeant(session)) session.log?.abandon()
    this.#bequeathed = this.#bequeathed.filter(session => !isMeant(session))
  }

  /** The connection has ended. Its Will Message and the Session's end come now, later or never (sections 3.1.2.5 and 3.1.2.11.2). */
  release (session: Session, isWillPublished: boolean): void {
    session.detach()
    if (this.#sessions.get(session.clientIdentifier) !== session) return // it was taken over elsewhere
    if (!isWillPublished) session.will = undefined // [MQTT-3.14.4-3]
    const now = this.#services.clock.now()
    this.away(session, now)
    this.save(session)
    this.#settle(session, now)
  }

  /** Sets the clocks of a Session whose connection ended at `since`, in milliseconds since the epoch. */
  away (session: Session, since: number): void {
    const expiry = session.sessionExpiryInterval
    session.expiresAt = expiry === neverExpires ? undefined : since + expiry * 1000
    session.willDueAt = session.will === undefined ? undefined : since + Math.min(session.will.delayInterval, expiry) * 1000
  }

  /** Ends a Session at once; a Will Message that still waits is published first [MQTT-3.1.2-10]. */
  end (session: Session): void {
    this.#publishWill(session)
    this.#sessions.delete(session.clientIdentifier)
    session.expiresAt = session.willDueAt = undefined
    session.log?.close(sessionRecordOf(session))
    this.#events.ended(session)
    this.#clear(session)
  }

  /** Looks after everything that is due. */
  sweep (): void {
    const now = this.#services.clock.now()
    if (this.#services.metrics.queuedMessages > 0) this.#sweepQueues(now)
    else this.#cursor = undefined
    for (const session of this.#bequeathed.splice(0, sweptAtOnce)) this.#publishLeft(session)
    for (let count = 0; count < sweptAtOnce; count++) {
      const name = this.#deadlines.take(now)
      if (name === undefined) return
      const session = this.#sessions.get(name)
      if (session === undefined || !isDue(session.scheduledAt, now)) continue // of an earlier Session, or from before it was put off
      session.scheduledAt = undefined
      this.#settle(session, now)
    }
  }

  #settle (session: Session, now: number): void {
    const isWillDue = isDue(session.willDueAt, now)
    if (isWillDue) this.#publishWill(session)
    if (isDue(session.expiresAt, now)) this.#expire(session)
    else {
      if (isWillDue) this.save(session)
      this.#schedule(session)
    }
  }

  /** What is left of a Session goes; what of it is in the store only is read for that, page by page. */
  #clear (session: Session): void {
    const { log, outbox } = session
    const from = session.isToBeLoaded ? 0 : outbox.spilledFrom
    outbox.clear()
    if (log === undefined) return
    const each = (delivery: Delivery): void => {
      if (!isMoved(delivery, session)) this.#services.dropped(session, delivery.message, 'sessionEnded')
    }
    this.#clearing.add(session)
    log.clear(from, each).catch((error: unknown) => {
      this.#services.logger.error({ err: error, clientIdentifier: session.clientIdentifier }, 'what is left of a Session could not be cleared away; it will be at the next start')
    }).finally(() => { this.#clearing.delete(session) })
  }

  /** Some of the Sessions at a time. */
  #sweepQueues (now: number): void {
    this.#cursor ??= this.#sessions.values()
    for (let count = 0; count < sweptAtOnce; count++) {
      const next = this.#cursor.next()
      if (next.done === true) {
        this.#cursor = undefined
        return
      }
      next.value.outbox.sweep(now)
    }
  }

  #expire (session: Session): void {
    if (session.sessionExpiryInterval > 0) this.#services.metrics.sessionsExpired++
    this.end(session)
  }

  #publishWill (session: Session): void {
    const will = session.will
    session.will = undefined
    session.willDueAt = undefined
    if (will !== undefined) this.#events.willDue(session, will)
  }

  #publishLeft (session: Session): void {
    this.#publishWill(session)
    this.clearAway(session)
  }

  /** One entry for each Session is enough: one that comes too early is put back, so reconnecting often adds nothing. */
  #schedule (session: Session): void {
    const at = Math.min(session.willDueAt ?? Infinity, session.expiresAt ?? Infinity)
    if (at >= (session.scheduledAt ?? Infinity)) return
    session.scheduledAt = at
    this.#deadlines.add(at, session.clientIdentifier)
    if (this.#deadlines.length > 2 * this.#sessions.size + 1024) this.#forgetOldDeadlines()
  }

  /** Keeps the list as long as there are Sessions, at the price of O(1) for each entry. */
  #forgetOldDeadlines (): void {
    this.#deadlines = new Deadlines<string>()
    for (const { scheduledAt, clientIdentifier } of this) {
      if (scheduledAt !== undefined) this.#deadlines.add(scheduledAt, clientIdentifier)
    }
  }
}

function isDue (at: number | undefined, now: number): boolean { return at !== undefined && at <= now }

/** Gives a message of a Shared Subscription to another member. A QoS 2 message that was sent stays [MQTT-4.8.2-4]. */
function isMoved ({ share, message, qos, packetIdentifier }: Delivery, session: Session): boolean {
  return share !== undefined && (qos !== QoS.exactlyOnce || packetIdentifier === 0) && share.redispatch(message, session)
}
