import { combine, sum, times, type Usage } from './usage.ts'

/**
 * What one operation costs Redis, as it was measured: by itself, and when the node that asks has `batch` of them under way; and what each further node adds that has to do with it, in both
 * cases. Between the two a part is paid once for a commit and shared, the rest is paid for each.
 */
export interface Cost {
  readonly batch: number
  readonly alone: Usage
  readonly together: Usage
  readonly aloneEach: Usage
  readonly togetherEach: Usage
}

/** What was measured with few nodes that have to do with it, and with more of them. */
export interface Measured {
  readonly few: number
  readonly many: number
  readonly batch: number
  readonly alone: readonly [few: Usage, many: Usage]
  readonly together: readonly [few: Usage, many: Usage]
}

/** Takes apart what each further node adds. What noise makes negative is 0. */
export function costFrom ({ few, many, batch, alone, together }: Measured): Cost {
  const each = (pair: readonly [Usage, Usage]): Usage => combine(pair, ([less = 0, more = 0]) => many === few ? 0 : Math.max(0, (more - less) / (many - few)))
  const rest = (pair: readonly [Usage, Usage], each: Usage): Usage => combine([...pair, each], ([less = 0, more = 0, each = 0]) =>
    Math.max(0, (less + more) / 2 - each * (few + many) / 2))
  const [aloneEach, togetherEach] = [each(alone), each(together)]
  return { batch, alone: rest(alone, aloneEach), together: rest(together, togetherEach), aloneEach, togetherEach }
}

/** How many of them a node has under way, how many other nodes have to do with each, and how many those get at once. */
export interface Circumstances {
  readonly batch: number
  readonly others: number
  readonly batchEach?: number
}

/** What one costs. Batches that are larger than what was measured cost what that did. */
export function costOf (cost: Cost, { batch, others, batchEach = batch }: Circumstances): Usage {
  return sum(between(cost.alone, cost.together, cost.batch, batch), times(between(cost.aloneEach, cost.togetherEach, cost.batch, batchEach), others))
}

/** What a frame costs besides the messages in it: each that shares one saves that. */
export function frameOf ({ aloneEach, togetherEach, batch }: Cost): Usage {
  return combine([aloneEach, togetherEach], ([one = 0, many = 0]) => Math.max(0, one - many) * batch / (batch - 1))
}

/** With a part that a batch shares and one that it does not: `own + shared / batch`. */
function between (alone: Usage, together: Usage, measured: number, batch: number): Usage {
  const size = Math.min(Math.max(batch, 1), measured)
  return combine([alone, together], ([one = 0, many = 0]) => {
    const shared = (one - many) * measured / (measured - 1)
    return one - shared + shared / size
  })
}
