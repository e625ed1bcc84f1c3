import type { QoS } from '../../lib/index.ts'
import { FilterTree, type Levels } from './filter-tree.ts'
import type { Action, Rule } from './rule.ts'

/** A rule with the filters that it has for a Client. */
export interface AppliedRule { readonly rule: Rule, readonly filters: readonly Levels[] }

/** Something that is asked about. */
export interface Question {
  readonly action: Action
  readonly qos: QoS
  readonly retain: boolean
}

/** The rules about one thing, the allowing ones apart from the others. */
interface Trees { readonly allow: FilterTree, readonly deny: FilterTree }

/** The numbers of the first rule that allows all of it, and of the first one that denies some of it; Infinity for none. */
export interface Verdict { readonly allow: number, readonly deny: number }

const noVerdict: Verdict = { allow: Infinity, deny: Infinity }

/** Rules by what they are about. Trees are built when they are first needed: most Clients do one thing only. */
export class Verdicts {
  readonly #rules: readonly AppliedRule[]
  readonly #trees = new Map<number, Trees>()
  /** Whether any of them looks at QoS or RETAIN. */
  readonly isParticular: boolean

  constructor (rules: readonly AppliedRule[]) {
    this.#rules = rules
    this.isParticular = rules.some(({ rule }) => rule.qos !== undefined || rule.retain !== undefined)
  }

  /** What they say about some levels, where others have said something already. */
  ask (question: Question, levels: Levels, before: Verdict = noVerdict): Verdict {
    if (this.#rules.length === 0) return before
    const { allow, deny } = this.#treesFor(question)
    return { allow: allow.covering(levels, before.allow), deny: deny.meeting(levels, before.deny) }
  }

  #treesFor (question: Question): Trees {
    const key = actionNumbers[question.action] * variants + (this.isParticular ? variantOf(question) : 0)
    const known = this.#trees.get(key)
    if (known !== undefined) return known
    const trees = this.#build(question)
    this.#trees.set(key, trees)
    return trees
  }

  #build (question: Question): Trees {
    const trees = { allow: new FilterTree(), deny: new FilterTree() }
    for (const { rule, filters } of this.#rules) {
      if (!isAbout(rule, question)) continue
      const tree = rule.isAllow ? trees.allow : trees.deny
      for (const levels of filters) tree.add(levels, rule.number)
    }
    return trees
  }
}

const actionNumbers: Readonly<Record<Action, number>> = { publish: 0, subscribe: 1, deliver: 2 }
const variants = 6

/** 0 to 5: what QoS and RETAIN can be together. */
export function variantOf ({ qos, retain }: Pick<Question, 'qos' | 'retain'>): number {
  return retain ? qos + 3 : qos
}

function isAbout ({ actions, qos, retain }: Rule, question: Question): boolean {
  return actions.includes(question.action) && qos?.includes(question.qos) !== false && (retain === undefined || retain === question.retain)
}
