import { storeTooNew, version, type Changes, type StoreState } from '../../lib/index.ts'
import { schema, type Table, type Tables } from './layout.ts'
import { decodeJson, encodeJson, type FormatRecord, type StateRecord } from './records.ts'
import type { WriteBatch } from './write-batch.ts'

const formatKey = Buffer.from('format')
const stateKey = Buffer.from('state')
/** Milliseconds by which `aliveAt` moves before it is worth a commit of its own. */
const aliveStepMs = 1_000

/** What the store remembers of itself, and the numbers that it hands out. */
export class State {
  /** The store is new, or has an older layout, all of which is part of this one: a version that does not know this one must leave it alone. */
  readonly wantsFormat: boolean
  #stored: StateRecord
  #nextSession: number
  #nextBody: number

  /** @throws MqttError when a newer version has written the store */
  constructor (tables: Tables, path: string) {
    this.wantsFormat = readFormat(tables, path)?.schema !== schema
    const state = tables.meta.getBinary(stateKey)
    this.#stored = state === undefined ? { nextSession: 1, nextBody: 1 } : decodeJson(state) as StateRecord
    this.#nextSession = this.#stored.nextSession
    this.#nextBody = this.#stored.nextBody
  }

  get storeState (): StoreState {
    return { nextSession: this.#stored.nextSession, aliveAt: this.#stored.aliveAt }
  }

  /** A number that no other body has, had or will have. */
  newBody (): number { return this.#nextBody++ }

  sawSession (session: number): void { this.#nextSession = Math.max(this.#nextSession, session + 1) }

  /** What a commit with or without other writes has to note; undefined for nothing. */
  next ({ aliveAt }: Changes, hasWrites: boolean): StateRecord | undefined {
    const isDue = hasWrites || Math.abs(aliveAt - (this.#stored.aliveAt ?? 0)) >= aliveStepMs
    return isDue ? { aliveAt, nextSession: this.#nextSession, nextBody: this.#nextBody } : undefined
  }

  write (batch: WriteBatch, { meta }: Tables, record: StateRecord): void {
    batch.write(meta, stateKey, encodeJson(record))
  }

  /** It was committed. */
  stored (record: StateRecord): void { this.#stored = record }
}

/** @throws MqttError when a newer version has written the store */
export function readFormat ({ meta }: { readonly meta: Pick<Table, 'getBinary'> }, path: string): FormatRecord | undefined {
  const stored = meta.getBinary(formatKey)
  if (stored === undefined) return undefined
  const format = decodeJson(stored) as FormatRecord
  expectKnown(format, path)
  return format
}

/** What a store is told first. */
export function writeFormat (batch: WriteBatch, { meta }: Tables): void {
  const record: FormatRecord = { schema, createdBy: version }
  batch.write(meta, formatKey, encodeJson(record))
}

function expectKnown (format: FormatRecord, path: string): void {
  if (format.schema <= schema) return
  throw storeTooNew(`the store in ${path} was made by Myelin ${format.createdBy} and has the layout ${format.schema}, ` +
    `but this is Myelin ${version}, which knows none above ${schema}; use that version, or a newer one`)
}
