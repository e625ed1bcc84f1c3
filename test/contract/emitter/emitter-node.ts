import assert from 'node:assert/strict'
import type { ClusterChanges } from '../../../lib/contract/cluster-changes.ts'
import { CommitRefused, type Claim, type Emitter, type EmitterEvents, type ImportedSession, type InboxEntry, type InboxFrame, type LogEntry, type Membership, type Pulse } from '../../../lib/contract/emitter.ts'
import type { Message } from '../../../lib/contract/message.ts'
import type { Changes, SessionRecord, Store } from '../../../lib/contract/store.ts'
import { fetchAll } from '../store/store-contents.ts'
import { changesOf, sessionRecord, subscriptionTo } from '../store/store-records.ts'

const patienceMs = 20_000

/** What a test wants of a Session that it stores. */
export interface SessionFields {
  readonly filters?: readonly string[]
  readonly record?: Partial<SessionRecord>
}

/** A broker's end of an emitter: notes all that it is told. */
export class TestNode implements EmitterEvents {
  readonly store: Store
  readonly emitter: Emitter
  readonly name: string
  readonly log: LogEntry[] = []
  readonly inbox: InboxEntry[] = []
  /** Whether it reaches the others, each time that it was told. */
  readonly reaches: boolean[] = []
  fences = 0
  generation = 0
  #nextSession = 0
  #moves = 0
  #joinedAt = 0
  #waiting: (() => void)[] = []

  constructor (store: Store, emitter: Emitter, name: string) {
    this.store = store
    this.emitter = emitter
    this.name = name
  }

  /** Positions of own Sessions are not given twice, and moves are those that it was told of. */
  async join (): Promise<Membership> {
    this.log.length = this.inbox.length = 0
    const membership = await this.emitter.join(this, { name: this.name, version: '1.2.3' })
    this.generation = membership.generation
    this.#nextSession = membership.nextSession
    this.#moves = Math.max(membership.moves, this.#moves)
    this.#joinedAt = this.emitter.logEnd
    return membership
  }

  get moves (): number { return this.#moves }

  logged (entry: LogEntry): void {
    if (entry.kind === 'routes') this.#moves = Math.max(this.#moves, entry.moves)
    this.log.push(entry)
    this.#wake()
  }

  received (entry: InboxEntry): void {
    this.inbox.push(entry)
    this.#wake()
  }

  fenced (): void {
    this.fences++
    this.#wake()
  }

  reachable (isReachable: boolean): void { this.noted(() => this.reaches.push(isReachable)) }

  /** It is told something in another way. */
  noted (note: () => void): void {
    note()
    this.#wake()
  }

  /** Resolves when something is so, which has to follow from what the node is told. */
  async until (what: string, isSo: () => boolean): Promise<void> {
    const end = Date.now() + patienceMs
    while (!isSo()) {
      assert.ok(Date.now() < end, `${this.name} waits for ever until ${what}`)
      await this.#nextEvent()
    }
  }

  /** Until it was told of everything that was there when its last commit or claim was answered. */
  async catchUp (): Promise<void> {
    const { logEnd } = this.emitter
    await this.until('it has caught up with the log', () => Math.max(this.#joinedAt, this.log.at(-1)?.position ?? 0) >= logEnd)
  }

  get frames (): InboxFrame[] { return this.inbox.filter(entry => entry.kind === 'frame') }

  /** What has come, as text. */
  get texts (): string[] { return this.frames.map(({ bytes }) => bytes.toString()) }

  /** What a node wants, as far as this one was told. */
  routesOf ({ generation }: TestNode): Map<string, number> {
    const routes = new Map<string, number>()
    for (const entry of this.log) {
      if (entry.generation !== generation || entry.kind === 'retained' || entry.kind === 'retainedAnew') continue
      if (entry.kind !== 'routes') routes.clear()
      else for (const [filter, count] of entry.routes) change(routes, filter, count)
    }
    return routes
  }

  /** Values of a retained message, in the order in which it was told of them. */
  retainedAs (topicName: string): (Message | undefined)[] {
    return this.log.flatMap(entry => entry.kind === 'retained' && entry.topicName === topicName ? [entry.message] : [])
  }

  get newSession (): number { return this.#nextSession++ }

  async beat (): Promise<Pulse> { return this.emitter.beat({ clientsConnected: 1, sessions: 2, subscriptions: 3 }) }

  async claim (clientIdentifier: string): Promise<Claim> { return this.emitter.claim({ clientIdentifier, session: this.newSession }) }

  /** A claim that has to bring a Session from elsewhere. */
  async import (clientIdentifier: string): Promise<ImportedSession> {
    const { session, imported } = await this.claim(clientIdentifier)
    assert.ok(imported !== undefined, `${clientIdentifier} is imported`)
    assert.equal(imported.number, session)
    return imported
  }

  async commit (changes: Partial<Changes>, cluster: Partial<ClusterChanges> = {}): Promise<void> {
    await this.store.commit(changesOf({
      ...changes, cluster: { routes: new Map(), sends: [], moves: undefined, settled: 0, released: [], begun: [], presence: new Map(), expired: new Map(), recovered: [], taken: [], handedOn: new Map(), publishers: [], ...cluster },
    }))
  }

  /** Expects that a commit is refused, and gives why. */
  async refused (changes: Partial<Changes>, cluster: Partial<ClusterChanges> = {}): Promise<CommitRefused> {
    const error: unknown = await this.commit(changes, cluster).then(() => undefined, (error: unknown) => error)
    assert.ok(error instanceof CommitRefused, `refused, not ${String(error)}`)
    return error
  }

  /** Claims a Client Identifier that has no Session yet, and stores one for it. */
  async begin (clientIdentifier: string, { filters = [], record = {} }: SessionFields = {}): Promise<number> {
    const { session } = await this.claim(clientIdentifier)
    const subscriptions = filters.map(topicFilter => ({ session, topicFilter, subscription: subscriptionTo(topicFilter) }))
    await this.commit({ sessions: new Map([[session, sessionRecord(clientIdentifier, record)]]), subscriptions }, { routes: new Map(filters.map(filter => [filter, 1])) })
    return session
  }

  async send (receiver: TestNode, ...texts: readonly string[]): Promise<void> {
    await this.commit({}, { sends: texts.map(text => ({ generation: receiver.generation, bytes: Buffer.from(text) })) })
  }

  /** Sends frames that the receiver has been told of. */
  async deliver (receiver: TestNode, ...texts: readonly string[]): Promise<void> {
    const count = receiver.frames.length + texts.length
    await this.send(receiver, ...texts)
    await receiver.until(`it has ${texts.join(', ')}`, () => receiver.frames.length >= count)
  }

  async online ({ generation }: TestNode): Promise<string[]> {
    const names: string[] = []
    for await (const name of this.emitter.online(generation)) names.push(name)
    return names.sort()
  }

  /** Adopts all Sessions of a node. */
  async adopt (generation: number): Promise<ImportedSession[]> {
    const pages = await this.adoptPages(generation)
    assert.ok(pages.length > 0, 'who may adopt gets a page, be it empty')
    return pages.flat()
  }

  async adoptPages (generation: number): Promise<(readonly ImportedSession[])[]> {
    const pages: (readonly ImportedSession[])[] = []
    for await (const page of this.emitter.adopt(generation)) pages.push(page)
    return pages
  }

  async inboxOf ({ generation }: TestNode): Promise<string[]> {
    const texts: string[] = []
    for await (const { bytes } of this.emitter.inboxOf(generation)) texts.push(bytes.toString())
    return texts
  }

  async remove (session: number): Promise<void> {
    await this.commit({ removed: await fetchAll(this.store, session) })
    await this.commit({ sessions: new Map([[session, undefined]]) })
  }

  /** Removes all that a dead node has. */
  async clear (generation: number): Promise<void> {
    for (const { number } of await this.adopt(generation)) await this.remove(number)
    for await (const frame of this.emitter.inboxOf(generation)) assert.ok(frame.position > 0)
    await this.emitter.bury(generation)
  }

  async clearRetained (): Promise<void> {
    const retained = new Map<string, undefined>()
    for await (const { topicName } of this.store.retained()) retained.set(topicName, undefined)
    await this.commit({ retained })
  }

  #wake (): void {
    for (const goOn of this.#waiting.splice(0)) goOn()
  }

  /** The timer is for what never comes. */
  async #nextEvent (): Promise<void> {
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, patienceMs)
      this.#waiting.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
  }
}

function change (routes: Map<string, number>, filter: string, count: number | undefined): void {
  if (count === undefined) routes.delete(filter)
  else routes.set(filter, count)
}

/** The texts of what is left for a Session, each with the number of messages to skip where there are such. */
export function remainderOf ({ remainder }: ImportedSession): string[] {
  return remainder.map(({ bytes, skip }) => skip === 0 ? bytes.toString() : `${bytes.toString()} from ${skip}`)
}
