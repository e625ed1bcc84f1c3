import { Deadlines } from '../base/deadlines.ts'
import { neverExpires, Session } from './session.ts'
import type { SessionServices } from './session-services.ts'

/** What `Sessions` reports upward. */
export interface SessionEvents {
  /** The Will Message is to be published now; the Session has already forgotten it. */
  willDue (session: Session, will: NonNullable<Session['will']>): void
  /** The Session has ended: its subscriptions are to be removed. */
  ended (session: Session): void
}

/** All Sessions by Client Identifier, and when those without a connection fall due. */
export class Sessions {
  readonly #sessions = new Map<string, Session>()
  /** Client Identifiers, not Sessions: one that has ended must not live on until its time has come. */
  #deadlines: Deadlines<string> = new Deadlines<string>()
  readonly #services: SessionServices
  readonly #events: SessionEvents

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
    session.expiresAt = session.willDueAt = Infinity
    session.will = undefined
  }

  /** The connection has ended. Its Will Message and the Session's end come now, later or never (sections 3.1.2.5 and 3.1.2.11.2). */
  release (session: Session, isWillPublished: boolean): void {
    session.detach()
    if (!isWillPublished) session.will = undefined // [MQTT-3.14.4-3]
    const now = this.#services.clock.now()
    const expiry = session.sessionExpiryInterval
    session.expiresAt = expiry === neverExpires ? Infinity : now + expiry * 1000
    session.willDueAt = session.will === undefined ? Infinity : now + Math.min(session.will.delayInterval, expiry) * 1000
    this.#settle(session, now)
  }

  /** Ends a Session at once; a Will Message that still waits is published first [MQTT-3.1.2-10]. */
  end (session: Session): void {
    this.#publishWill(session)
    this.#sessions.delete(session.clientIdentifier)
    session.expiresAt = session.willDueAt = Infinity
    this.#events.ended(session)
    session.outbox.clear()
  }

  /** Looks after everything that is due. */
  sweep (): void {
    const now = this.#services.clock.now()
    for (let name = this.#deadlines.take(now); name !== undefined; name = this.#deadlines.take(now)) {
      const session = this.#sessions.get(name)
      if (session === undefined || session.scheduledAt > now) continue // of an earlier Session, or from before it was put off
      session.scheduledAt = Infinity
      this.#settle(session, now)
    }
  }

  #settle (session: Session, now: number): void {
    if (session.willDueAt <= now) this.#publishWill(session)
    if (session.expiresAt <= now) this.#expire(session)
    else this.#schedule(session)
  }

  #expire (session: Session): void {
    if (session.sessionExpiryInterval > 0) this.#services.metrics.sessionsExpired++
    this.end(session)
  }

  #publishWill (session: Session): void {
    const will = session.will
    session.will = undefined
    session.willDueAt = Infinity
    if (will !== undefined) this.#events.willDue(session, will)
  }

  /** One entry for each Session is enough: one that comes too early is put back, so reconnecting often adds nothing. */
  #schedule (session: Session): void {
    const at = Math.min(session.willDueAt, session.expiresAt)
    if (at >= session.scheduledAt) return
    session.scheduledAt = at
    this.#deadlines.add(at, session.clientIdentifier)
    if (this.#deadlines.length > 2 * this.#sessions.size + 1024) this.#forgetOldDeadlines()
  }

  /** Keeps the list as long as there are Sessions, at the price of O(1) for each entry. */
  #forgetOldDeadlines (): void {
    this.#deadlines = new Deadlines<string>()
    for (const { scheduledAt, clientIdentifier } of this) {
      if (scheduledAt !== Infinity) this.#deadlines.add(scheduledAt, clientIdentifier)
    }
  }
}
