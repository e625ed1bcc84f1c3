import { ErrorCode, MqttError } from '../base/errors.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Logger } from '../contract/logger.ts'
import type { Store } from '../contract/store.ts'
import { storeFailed } from '../contract/store-errors.ts'
import type { JournalBatch } from './journal-batch.ts'

/** Writes one batch after the other, and says when the store begins to fail and when it works again. */
export class StoreWriter {
  /** Milliseconds since the epoch: what the store knows of when the broker was alive. */
  aliveAt = 0
  /** Whether the last commit failed. */
  isFailing = false
  readonly #store: Store
  readonly #services: { readonly logger: Logger, readonly metrics: Metrics }

  constructor (store: Store, services: { readonly logger: Logger, readonly metrics: Metrics }) {
    this.#store = store
    this.#services = services
  }

  /** @returns why nothing of it was written; undefined when all of it was, or there was nothing to write */
  async write (batch: JournalBatch): Promise<MqttError | undefined> {
    try {
      if (!batch.hasChanges) return undefined
      await this.#store.commit(batch)
      this.aliveAt = batch.aliveAt
      this.#services.metrics.storeCommits++
      return undefined
    } catch (error) {
      return error instanceof MqttError ? error : storeFailed(`the store ${this.#store.name} failed: ${String(error)}`, { cause: error })
    }
  }

  /** What has become of a batch in the end: told once for each time that failing begins or ends, since a disk that is full stays so for many commits. */
  async ended (batch: JournalBatch, error: MqttError | undefined): Promise<void> {
    if (error?.code === ErrorCode.storeFull) await this.#relieve(batch)
    const isFailing = error !== undefined
    if (isFailing) this.#services.metrics.storeFailures++
    if (isFailing === this.isFailing) return
    this.isFailing = isFailing
    const { logger } = this.#services
    if (isFailing) logger.error({ err: error, store: this.#store.name }, error.message)
    else logger.info({ store: this.#store.name }, 'the store works again')
  }

  /** A store that is full would stay so while somebody publishes, if what makes room had to wait for what needs it. */
  async #relieve (batch: JournalBatch): Promise<void> {
    const { relief } = batch
    if (relief.removed.length === 0) return
    try {
      await this.#store.commit(relief)
      batch.relieved()
    } catch {
      // it is part of the next attempt, and the failure that there was is reported
    }
  }
}
