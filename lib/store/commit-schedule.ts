import { clearImmediate, setImmediate } from 'node:timers'
import type { Clock } from '../contract/clock.ts'
import type { Store } from '../contract/store.ts'

/** Milliseconds after which a store that refused a commit is asked again. */
const retryMs = 1_000

/** What is scheduled. */
export interface CommitWork {
  /** Whether there is anything to commit. */
  hasWork (): boolean
  /** Whether the last commit failed. */
  isFailing (): boolean
  /** Whether other nodes have an interest in it, so that nothing of it can be put off. */
  isShared (): boolean
  /** @returns what has to be done as soon as nothing is being committed any more */
  commit (): Promise<() => void>
  /** The commit is over, and whoever has paused knows. */
  over (): void
}

/** When the next commit begins: soon where somebody waits for it, later where nobody does; never beside another one, and not during a pause. */
export class CommitSchedule {
  readonly #clock: Clock
  readonly #store: Pick<Store, 'commitDelayMs' | 'patienceMs'>
  readonly #work: CommitWork
  /** Ends the wait for the next commit; undefined when none is planned. */
  #cancel: (() => void) | undefined = undefined
  /** Nobody waits for what has gathered. */
  #isPatient = true
  #isCommitting = false
  /** From here on nothing is planned. */
  #isClosed = false
  /** Who wants that nothing is being committed. */
  #pauses = 0
  #whenIdle: (() => void)[] = []

  constructor (clock: Clock, store: Pick<Store, 'commitDelayMs' | 'patienceMs'>, work: CommitWork) {
    this.#clock = clock
    this.#store = store
    this.#work = work
  }

  /** There is something to commit. */
  plan (): void {
    if (this.#isPatient && !this.#work.isFailing()) this.#stopWaiting()
    this.#isPatient = false
    this.#planOnce(this.#store.commitDelayMs)
  }

  /** The same for what costs nobody more than a message that comes twice, should the process end before: more of it is cheaper together. */
  planSome (): void {
    if (this.#work.isShared()) this.plan()
    else this.#planOnce(Math.max(this.#store.commitDelayMs, this.#store.patienceMs ?? 0))
  }

  /** The store has refused, and is left alone for some time, whoever asks for it sooner. */
  planAgain (): void {
    if (!this.#isClosed) this.#planIn(retryMs)
  }

  /** Whoever has waited does so for what is committed now: for what comes from here on, nobody does yet. */
  sealed (): void { this.#isPatient = true }

  /** Resolves when nothing is being committed; nothing will be before `resume`. */
  pause (): Promise<void> {
    this.#pauses++
    return this.#isCommitting ? new Promise(resolve => { this.#whenIdle.push(resolve) }) : Promise.resolve()
  }

  /** What has waited is committed before the next pause, unless the store has failed and is left alone for some time. */
  resume (): void {
    if (--this.#pauses === 0 && !this.#isClosed && this.#work.hasWork() && (!this.#work.isFailing() || this.#cancel === undefined)) void this.#commit()
  }

  close (): void {
    this.#isClosed = true
    this.#cancel?.()
  }

  #planOnce (delayMs: number): void {
    if (this.#cancel === undefined && !this.#isCommitting && !this.#isClosed && this.#pauses === 0) this.#planIn(delayMs)
  }

  #stopWaiting (): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  #planIn (delayMs: number): void {
    const commit = (): void => { void this.#commit() }
    if (delayMs > 0) {
      this.#cancel = this.#clock.after(delayMs, commit)
      return
    }
    const immediate = setImmediate(commit)
    this.#cancel = () => { clearImmediate(immediate) }
  }

  async #commit (): Promise<void> {
    this.#stopWaiting()
    if (this.#pauses > 0 || this.#isCommitting) return
    this.#isCommitting = true
    const tell = await this.#work.commit()
    this.#isCommitting = false
    tell()
    for (const goOn of this.#whenIdle.splice(0)) goOn()
    this.#work.over()
    this.#planNext()
  }

  #planNext (): void {
    if (!this.#work.hasWork()) this.#isPatient = true // what was asked for meanwhile may have been taken back
    else if (this.#isPatient) this.planSome()
    else this.plan()
  }
}
