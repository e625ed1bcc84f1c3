import { storeFailed, storeTooNew, version, type StoreState } from '../../../lib/index.ts'
import { schema } from '../link/layout.ts'
import type { Link } from '../link/link.ts'

/** What a store knows when it is opened. */
export interface OpenedState extends StoreState {
  /** Of the last call that generation 0 made. */
  readonly lastNumber: number
  /** Position of the last entry in the log of a cluster: what is retained is read after it. */
  readonly logEnd: number
  readonly references: References
}

/** @throws MqttError when a newer version has written it, or when Redis is not one that can keep it */
export async function readState (link: Link): Promise<OpenedState> {
  checkServer(await infoOf(link))
  await link.command('HSETNX', 'v', 'schema', schema)
  await link.command('HSETNX', 'v', 'createdBy', version)
  const [stored, createdBy] = (await link.command('HMGET', 'v', 'schema', 'createdBy') as Buffer[]).map(String)
  if (Number(stored) > schema) throw tooNew(stored, createdBy)
  await link.command('HSETNX', 'last', '0', '0')
  const [nextSession, aliveAt, logEnd = 0] = (await link.command('HMGET', 'n', 'session', 'aliveAt', 'log') as (Buffer | null)[]).map(numberOf)
  const references = new References(link, await newBlock(link))
  return { nextSession: nextSession ?? 1, aliveAt, logEnd, lastNumber: Number(await link.command('HGET', 'last', '0')), references }
}

function numberOf (value: Buffer | null): number | undefined { return value === null ? undefined : Number(value) }

function tooNew (stored: unknown, createdBy: unknown): Error {
  return storeTooNew(`the store was made by Myelin ${String(createdBy)} and has the layout ${String(stored)}, ` +
    `but this is Myelin ${version}, which knows none above ${schema}; use that version, or a newer one`)
}

/** '' where Redis does not say. */
async function infoOf ({ connection }: Link): Promise<string> {
  try {
    return await connection.info()
  } catch {
    return ''
  }
}

function checkServer (info: string): void {
  const [, major, minor] = /^redis_version:(\d+)\.(\d+)/m.exec(info) ?? []
  if (major !== undefined && Number(major) + Number(minor) / 100 < 6.02) throw storeFailed(`Redis ${major}.${minor ?? ''} is too old; it has to be 6.2 or newer`)
  const [, policy] = /^maxmemory_policy:(\S+)/m.exec(info) ?? []
  if (policy?.startsWith('allkeys') === true) {
    throw storeFailed(`Redis may throw away Sessions when its memory is full: set its maxmemory-policy to noeviction, it is ${policy}`)
  }
}

const blockLength = 2 ** 28

/** A block of numbers that no other process has; numbers stay below 2^48. */
async function newBlock (link: Link): Promise<number> {
  return Number(await link.command('HINCRBY', 'n', 'body', 1)) * blockLength
}

/** Hands out numbers for bodies that no other body has, had or will have. */
export class References {
  readonly #link: Link
  #next: number
  #end: number
  /** The block after this one; undefined until it is needed soon. */
  #following: number | undefined = undefined

  constructor (link: Link, block: number) {
    this.#link = link
    this.#next = block
    this.#end = block + blockLength
  }

  next (): number {
    if (this.#next === this.#end - blockLength / 2) void this.#renew()
    if (this.#next === this.#end && this.#following !== undefined) {
      this.#next = this.#following
      this.#end = this.#following + blockLength
    }
    return this.#next++
  }

  async #renew (): Promise<void> {
    try {
      this.#following = await newBlock(this.#link)
    } catch {
      // The link was closed: no more numbers are needed.
    }
  }
}
