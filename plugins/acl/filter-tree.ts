/** A Topic Filter, or a Topic Name, level by level. */
export type Levels = readonly string[]

/** Matches every topic, those that begin with `$` among them, which no Topic Filter does (section 4.7.2). */
export const everything: Levels = ['#']

/** Takes a filter apart. `#` by itself becomes `+/#`, which matches the same topics, so that what begins with `$` is an exception of `+` alone. */
export function levelsOf (filter: string): Levels {
  return filter === '#' ? ['+', '#'] : filter.split('/')
}

class Node {
  /** The lowest number that is here or below. */
  lowest = Infinity
  /** Of the filter that ends here. */
  own = Infinity
  /** Of the filter that goes on with `#`. */
  rest = Infinity
  /** Filters that go on with `+`. */
  any: Node | undefined = undefined
  /** Filters that go on with a name. */
  named: Map<string, Node> | undefined = undefined

  child (level: string): Node {
    if (level === '+') return this.any ??= new Node()
    this.named ??= new Map()
    const known = this.named.get(level)
    if (known !== undefined) return known
    const node = new Node()
    this.named.set(level, node)
    return node
  }
}

/** Whether a `+` stands for that level: not at the front for what begins with `$` [MQTT-4.7.2-1]. */
function isAny (level: string, at: number): boolean {
  return at > 0 || !level.startsWith('$')
}

/**
 * Filters with the numbers of their rules. Finds the lowest number among the filters that contain what was asked for, or that meet it,
 * however many there are: the work is that of the levels, and for `+` that of the filters which lie in its way.
 */
export class FilterTree {
  readonly #root = new Node()

  add (levels: Levels, number: number): void {
    let node = this.#root
    for (const level of levels) {
      node.lowest = Math.min(node.lowest, number)
      if (level === '#') {
        node.rest = Math.min(node.rest, number)
        return
      }
      node = node.child(level)
    }
    node.lowest = Math.min(node.lowest, number)
    node.own = Math.min(node.own, number)
  }

  /** The lowest number below `best` of a filter that matches every topic which `levels` matches; `best` when there is none. */
  covering (levels: Levels, best: number = Infinity): number {
    return covering(this.#root, levels, 0, best)
  }

  /** The lowest number below `best` of a filter that matches some topic which `levels` matches; `best` when there is none. */
  meeting (levels: Levels, best: number = Infinity): number {
    return meeting(this.#root, levels, 0, best)
  }
}

function covering (node: Node | undefined, levels: Levels, at: number, best: number): number {
  if (node === undefined || node.lowest >= best) return best
  const found = Math.min(best, node.rest) // `a/#` matches `a`, too (4.7.1.2)
  const level = levels[at]
  if (level === undefined) return Math.min(found, node.own)
  if (level === '#') return found
  const named = level === '+' ? found : covering(node.named?.get(level), levels, at + 1, found)
  return isAny(level, at) ? covering(node.any, levels, at + 1, named) : named
}

function meeting (node: Node | undefined, levels: Levels, at: number, best: number): number {
  if (node === undefined || node.lowest >= best) return best
  const level = levels[at]
  if (level === '#') return node.lowest
  const found = Math.min(best, node.rest)
  if (level === undefined) return Math.min(found, node.own)
  const named = level === '+' ? meetingAny(node, levels, at, found) : meeting(node.named?.get(level), levels, at + 1, found)
  return isAny(level, at) ? meeting(node.any, levels, at + 1, named) : named
}

function meetingAny ({ named }: Node, levels: Levels, at: number, best: number): number {
  let found = best
  for (const [name, child] of named ?? []) if (isAny(name, at)) found = meeting(child, levels, at + 1, found)
  return found
}
