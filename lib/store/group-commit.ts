import { ErrorCode, type MqttError } from '../base/errors.ts'
import type { Limits } from '../base/limits.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Clock } from '../contract/clock.ts'
import { CommitRefused } from '../contract/emitter.ts'
import type { Logger } from '../contract/logger.ts'
import type { Store } from '../contract/store.ts'
import { CommitSchedule, type CommitWork } from './commit-schedule.ts'
import { JournalBatch } from './journal-batch.ts'
import type { JournalPeer } from './journal-peer.ts'
import { StoreWriter } from './store-writer.ts'

/** What the journal is built with. */
export interface JournalServices {
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly limits: Pick<Limits, 'maximumUncommittedBytes'>
}

/** Commits one batch after the other, each with all that has gathered while the one before it was written. */
export class GroupCommit implements CommitWork {
  readonly schedule: CommitSchedule
  /** What gathers until the next commit. */
  batch: JournalBatch = new JournalBatch()
  /** What is being committed. */
  sealed: JournalBatch | undefined = undefined
  /** The cluster that the broker is part of. */
  peer: JournalPeer | undefined = undefined
  /** Nothing that has gathered will be written. */
  isDiscarded = false
  readonly #services: JournalServices
  readonly #writer: StoreWriter
  #resume: (() => void)[] = []

  constructor (store: Store, services: JournalServices) {
    this.#services = services
    this.#writer = new StoreWriter(store, services)
    this.schedule = new CommitSchedule(services.clock, store, this)
  }

  /** Milliseconds since the epoch: what the store knows of when the broker was alive. */
  get aliveAt (): number { return this.#writer.aliveAt }

  isFailing (): boolean { return this.#writer.isFailing }

  hasWork (): boolean { return this.batch.hasWork || this.peer?.hasWork === true }

  isShared (): boolean { return this.peer !== undefined }

  /** Resolves when publishers of what is to be stored may go on; undefined when they may at once. */
  hold (): Promise<void> | undefined {
    return this.batch.bytes < this.#services.limits.maximumUncommittedBytes ? undefined : new Promise(resolve => { this.#resume.push(resolve) })
  }

  over (): void { for (const resume of this.#resume.splice(0)) resume() }

  /** From here on nothing is written. */
  discard (error: MqttError): void {
    this.isDiscarded = true
    const batch = this.batch
    this.batch = new JournalBatch()
    this.#services.metrics.uncommittedBytes -= batch.bytes
    for (const pending of batch.messages) pending.seal()
    batch.enqueued = batch.messages
    batch.refused(error, this.#failed)
  }

  async commit (): Promise<() => void> {
    let batch = this.#seal()
    let error = await this.#writer.write(batch)
    while (error instanceof CommitRefused && !this.isDiscarded) {
      await this.#unseal(batch, error)
      batch = this.#seal()
      error = await this.#writer.write(batch)
    }
    if (error !== undefined || this.isFailing()) await this.#writer.ended(batch, error)
    return () => { this.#committed(batch, error) }
  }

  /** From here on nothing is added to what is written next. */
  #seal (): JournalBatch {
    this.peer?.prepare()
    const batch = this.sealed = this.batch
    this.batch = new JournalBatch()
    this.schedule.sealed()
    batch.cluster = this.peer?.seal(batch.messages)
    batch.seal(this.#services.clock.now())
    return batch
  }

  /** Other nodes have something against it: it is gathered again, and what is theirs is taken out. */
  async #unseal (batch: JournalBatch, refusal: CommitRefused): Promise<void> {
    batch.unseal(this.batch)
    this.batch = batch
    this.sealed = undefined
    batch.cluster?.unseal()
    await this.peer?.learn(refusal)
  }

  #committed (batch: JournalBatch, error: MqttError | undefined): void {
    this.sealed = undefined
    this.#services.metrics.uncommittedBytes -= batch.bytes
    if (error === undefined) batch.stored(this.#failed)
    else this.#giveUp(batch, error)
  }

  readonly #failed = (error: unknown): void => {
    this.#services.logger.error({ err: error }, 'an unexpected error after a commit')
  }

  #giveUp (batch: JournalBatch, error: MqttError): void {
    if (error.code === ErrorCode.storeFull) this.#services.metrics.uncommittedBytes += this.batch.keep(batch)
    this.batch.inherit(batch)
    this.schedule.planAgain() // before anybody can ask for it sooner
    this.batch.waitBefore(batch.refused(error, this.#failed))
  }
}
