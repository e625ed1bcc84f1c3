/**
 * Who set a topic's retained message last. The log says; but what was set on this node is here before it is in the log, and until it comes back from
 * there, whatever else the log tells of its topic is older.
 */
export class RetainedOrder {
  /** Topics whose retained message is part of the next commit. */
  #gathered = new Set<string>()
  /** Commits of a topic's retained message that have not come back. */
  readonly #underWay = new Map<string, number>()
  /** Topics that the log told of while the retained messages were being read; undefined once they have been. */
  #told: Set<string> | undefined = new Set()

  /** It was set, or removed, on this node. */
  set (topicName: string): void { this.#gathered.add(topicName) }

  /** It was not, after all. */
  drop (topicName: string): void { this.#gathered.delete(topicName) }

  /** What is part of a commit: each comes back once. */
  take (): ReadonlySet<string> {
    const taken = this.#gathered
    this.#gathered = new Set()
    for (const topicName of taken) this.#underWay.set(topicName, (this.#underWay.get(topicName) ?? 0) + 1)
    return taken
  }

  /** It was not written, and is part of the next commit. */
  takeBack (taken: ReadonlySet<string>): void {
    for (const topicName of taken) {
      this.#gathered.add(topicName)
      this.#back(topicName)
    }
  }

  /**
   * The log tells of a topic.
   * @returns whether that is newer than what is known here
   */
  isNews (topicName: string, generation: number, own: number): boolean {
    if (generation === own) {
      this.#back(topicName)
      return false
    }
    if (generation === 0) this.#underWay.delete(topicName) // entries were missed, own ones maybe among them
    this.#told?.add(topicName)
    return !this.#gathered.has(topicName) && !this.#underWay.has(topicName)
  }

  /** Whether what was read of a topic may be older than what the log has told. */
  isTold (topicName: string): boolean { return this.#told?.has(topicName) === true }

  /** All retained messages have been read. */
  read (): void { this.#told = undefined }

  /** This node begins anew, with another log. What has gathered is still to be committed. */
  reset (): void {
    this.#underWay.clear()
    this.#told = new Set()
  }

  #back (topicName: string): void {
    const count = (this.#underWay.get(topicName) ?? 0) - 1
    if (count > 0) this.#underWay.set(topicName, count)
    else this.#underWay.delete(topicName)
  }
}
