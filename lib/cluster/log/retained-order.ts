import type { Message } from '../../contract/message.ts'

/** A topic whose retained message was set, or removed, on this node, and is not in the log yet. */
interface Ahead {
  /** Commits of it that have not come back. */
  underWay: number
  /** What the log says of it, as far as it was read. */
  logged: Message | undefined
  /** It was not set, after all: what comes back is news. */
  isDropped: boolean
}

/**
 * Who set a topic's retained message last. The log says; but what was set on this node is here before it is in the log, and until it comes back from
 * there, whatever else the log tells of its topic is older.
 */
export class RetainedOrder {
  readonly #ahead = new Map<string, Ahead>()
  /** Those that are part of the next commit. */
  #gathered = new Set<string>()
  /** Topics that the log told of while the retained messages were being read; undefined once they have been. */
  #told: Set<string> | undefined = new Set()
  /** Topics that the log has told of since all that is retained began to be told anew; undefined when it is not. */
  #anew: Set<string> | undefined = undefined

  /** It was set, or removed, on this node. @param before what it was */
  set (topicName: string, before: Message | undefined): void {
    this.#gathered.add(topicName)
    const ahead = this.#ahead.get(topicName)
    if (ahead === undefined) this.#ahead.set(topicName, { underWay: 0, logged: before, isDropped: false })
    else ahead.isDropped = false
  }

  /** It was not, after all. @returns what it is then; undefined when the log has yet to tell */
  drop (topicName: string): { readonly message: Message | undefined } | undefined {
    this.#gathered.delete(topicName)
    const ahead = this.#ahead.get(topicName)
    if (ahead === undefined) return undefined
    ahead.isDropped = true
    if (ahead.underWay > 0) return undefined
    this.#ahead.delete(topicName)
    return { message: ahead.logged }
  }

  /** What is part of a commit: each comes back once. */
  take (): ReadonlySet<string> {
    const taken = this.#gathered
    this.#gathered = new Set()
    for (const topicName of taken) this.#count(topicName, 1)
    return taken
  }

  /** It was not written, and is part of the next commit. */
  takeBack (taken: ReadonlySet<string>): void {
    for (const topicName of taken) {
      this.set(topicName, undefined)
      this.#count(topicName, -1)
    }
  }

  /**
   * The log tells of a topic.
   * @returns whether that is newer than what is known here
   */
  isNews (topicName: string, message: Message | undefined, generation: number, own: number): boolean {
    this.#anew?.add(topicName)
    if (generation !== own) this.#told?.add(topicName)
    const ahead = this.#ahead.get(topicName)
    if (ahead === undefined) return true
    ahead.logged = message
    if (generation === own) this.#count(topicName, -1)
    if (generation === 0) ahead.underWay = 0 // entries were missed, own ones maybe among them
    if (this.#gathered.has(topicName) || ahead.underWay > 0) return false
    this.#ahead.delete(topicName)
    return generation !== own || ahead.isDropped
  }

  /** Whether what was read of a topic may be older than what the log has told. */
  isTold (topicName: string): boolean { return this.#told?.has(topicName) === true }

  /** All retained messages have been read. */
  read (): void { this.#told = undefined }

  /** Entries were missed, maybe own ones, too, which do not come back then: all that is retained is told from here on. */
  beginAnew (): void {
    this.#forgetUnderWay()
    for (const ahead of this.#ahead.values()) ahead.logged = undefined
    this.#anew = new Set()
  }

  /** All of it was told. @returns what says of a topic whether it is retained no more; undefined once something else has begun */
  untold (): (topicName: string) => boolean | undefined {
    const told = this.#anew
    const isOurs = (topicName: string): boolean => this.#ahead.has(topicName) || topicName.startsWith('$SYS/') // not the others' yet, or never
    return topicName => told === undefined || told !== this.#anew ? undefined : !told.has(topicName) && !isOurs(topicName)
  }

  /** What was not told of is forgotten. */
  endAnew (): void { this.#anew = undefined }

  /** This node begins anew: what was under way does not come back as its own. What has gathered is still to be committed. */
  reset (): void {
    this.#forgetUnderWay()
    this.#anew = undefined
  }

  #forgetUnderWay (): void {
    for (const [topicName, ahead] of this.#ahead) {
      ahead.underWay = 0
      if (!this.#gathered.has(topicName)) this.#ahead.delete(topicName)
    }
  }

  #count (topicName: string, change: 1 | -1): void {
    const ahead = this.#ahead.get(topicName)
    if (ahead !== undefined) ahead.underWay = Math.max(0, ahead.underWay + change)
  }
}
