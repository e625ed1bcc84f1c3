import type { Machine } from '../../runner/machine.ts'
import type { Cost } from './costs.ts'
import type { Usage } from './usage.ts'

export const operations = ['connect', 'reconnect', 'move', 'subscribe', 'unsubscribe', 'message'] as const
export type Operation = typeof operations[number]

/** Bytes that Redis takes for each. */
export interface RedisBytes {
  /** What is there before the first Client, for each node. */
  readonly node: number
  /** A Session that ends with its connection, while its Client is online. */
  readonly volatile: number
  /** A Session that stays, with one Subscription; each further one; both with filters that nobody else has. */
  readonly durable: number
  readonly subscription: number
  /** A message with a payload of 200 bytes that waits in one Session. */
  readonly queued: number
}

/** Bytes of a node's memory for each. */
export interface NodeBytes {
  /** The process before the first Client. */
  readonly process: number
  /** A Session that stays, with one Subscription: its Client online (its socket's share of the heap among it), and away. */
  readonly online: number
  readonly away: number
  /** A Topic Filter that another node wants. */
  readonly route: number
}

/** What was measured; `benchmarks/results/scaling.json` has it. */
export interface Figures {
  readonly machine: Machine
  readonly redis: string
  readonly rounds: number
  /** A node without Clients, a second. */
  readonly idle: Usage
  readonly costs: Readonly<Record<Operation, Cost>>
  readonly redisBytes: RedisBytes
  readonly nodeBytes: NodeBytes
}

/** A run beside what the model says of it. */
export interface Check {
  readonly connections: number
  readonly seconds: number
  /** A second. */
  readonly connects: number
  readonly messages: number
  /** Until a PUBACK came: the model is told. */
  readonly roundTripMs: number
  readonly rows: readonly CheckRow[]
}

export interface CheckRow {
  readonly figure: string
  readonly predicted: number
  readonly measured: number
}

/** How far a prediction may be off, as a share of what was measured. */
export const tolerance = 0.25

export function isWithin ({ predicted, measured }: CheckRow): boolean { return Math.abs(predicted - measured) <= tolerance * measured }

/** All of what is kept. */
export interface Kept {
  readonly figures: Figures
  readonly checks: readonly Check[]
}
