import { levelEnd } from './levels.ts'

/** What hangs in a {@link LevelTrie}: it knows its own path, so the levels that only it has need no branches. */
export interface Leaf {
  /** A Topic Name or Topic Filter. */
  readonly path: string
}

/** A leaf stands for all levels of its path that nobody shares with it. */
export type TrieNode<L extends Leaf> = Branch<L> | L

/**
 * One level that several paths go through. A single child is held without a Map, since most branches have one; the wildcard
 * levels have places of their own, since every match asks for them.
 */
export class Branch<L extends Leaf> {
  /** The path that ends here. */
  own: L | undefined = undefined
  /** The path that ends here with `/#` after it. */
  multiLevel: L | undefined = undefined
  /** The paths that go on with `+`. */
  singleLevel: TrieNode<L> | undefined = undefined
  /** The name of the child, when there is one alone. */
  #name = ''
  #children: TrieNode<L> | Map<string, TrieNode<L>> | undefined = undefined

  get isEmpty (): boolean {
    return this.#children === undefined && this.own === undefined && this.singleLevel === undefined && this.multiLevel === undefined
  }

  /** The child for the level of `text` from `start` to `end`, taken literally. */
  literal (text: string, start: number, end: number): TrieNode<L> | undefined {
    const children = this.#children
    if (children === undefined) return undefined
    if (children instanceof Map) return children.get(text.slice(start, end))
    return this.#name.length === end - start && text.startsWith(this.#name, start) ? children : undefined
  }

  /** The child for a level of a path, where `+` and `#` are wildcards. */
  get (name: string): TrieNode<L> | undefined {
    if (name === '+') return this.singleLevel
    if (name === '#') return this.multiLevel
    const children = this.#children
    if (children instanceof Map) return children.get(name)
    return this.#name === name ? children : undefined
  }

  set (name: string, node: TrieNode<L>): void {
    if (name === '+') this.singleLevel = node
    else if (name === '#') this.multiLevel = node as L // nothing follows it [MQTT-4.7.1-1]
    else this.#setChild(name, node)
  }

  delete (name: string): void {
    if (name === '+') this.singleLevel = undefined
    else if (name === '#') this.multiLevel = undefined
    else this.#deleteChild(name)
  }

  /** Visits the children with a literal name. */
  forEach (visit: (child: TrieNode<L>, name: string) => void): void {
    const children = this.#children
    if (children instanceof Map) children.forEach(visit)
    else if (children !== undefined) visit(children, this.#name)
  }

  #setChild (name: string, node: TrieNode<L>): void {
    const children = this.#children
    if (children instanceof Map) children.set(name, node)
    else if (children === undefined || this.#name === name) {
      this.#name = name
      this.#children = node
    } else this.#children = new Map([[this.#name, children], [name, node]])
  }

  #deleteChild (name: string): void {
    const children = this.#children
    if (!(children instanceof Map)) {
      this.#name = ''
      this.#children = undefined
      return
    }
    children.delete(name)
    if (children.size > 1) return
    for (const [left, node] of children) {
      this.#name = left
      this.#children = node
    }
  }
}

/**
 * Paths by their levels, for whoever looks for many at once: subscriptions by Topic Filter, retained messages by Topic Name.
 * A path costs a leaf, and a branch only where another path goes the same way; what is removed leaves nothing behind.
 */
export class LevelTrie<L extends Leaf> {
  readonly root: Branch<L> = new Branch<L>()

  get (path: string): L | undefined {
    let branch = this.root
    for (let start = 0; start <= path.length;) {
      const end = levelEnd(path, start)
      const node = branch.get(path.slice(start, end))
      if (!(node instanceof Branch)) return node?.path === path ? node : undefined
      branch = node
      start = end + 1
    }
    return branch.own
  }

  /** Adds a leaf, in the place of one with the same path if there is one. */
  set (leaf: L): void {
    const path = leaf.path
    let branch = this.root
    for (let start = 0; start <= path.length;) {
      const end = levelEnd(path, start)
      const name = path.slice(start, end)
      const node = branch.get(name)
      if (!(node instanceof Branch) && (node === undefined || node.path === path)) {
        branch.set(name, leaf)
        return
      }
      branch = node instanceof Branch ? node : split(branch, name, node, end + 1)
      start = end + 1
    }
    branch.own = leaf
  }

  delete (path: string): boolean {
    return deleteBelow(this.root, path, 0)
  }
}

/** Puts a branch in the place of a leaf, and the leaf below it by the level at `start` of its path. */
function split<L extends Leaf> (parent: Branch<L>, name: string, leaf: L, start: number): Branch<L> {
  const branch = new Branch<L>()
  const path = leaf.path
  if (start > path.length) branch.own = leaf
  else branch.set(path.slice(start, levelEnd(path, start)), leaf)
  parent.set(name, branch)
  return branch
}

function deleteBelow<L extends Leaf> (branch: Branch<L>, path: string, start: number): boolean {
  if (start > path.length) {
    const had = branch.own !== undefined
    branch.own = undefined
    return had
  }
  const end = levelEnd(path, start)
  const name = path.slice(start, end)
  const node = branch.get(name)
  const deleted = node instanceof Branch ? deleteBelow(node, path, end + 1) : node?.path === path
  if (deleted && (!(node instanceof Branch) || node.isEmpty)) branch.delete(name)
  return deleted
}
