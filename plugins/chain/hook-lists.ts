import { optionInvalid, type Broker, type Hooks } from '../../lib/index.ts'

type HookName = keyof Hooks
type Hook<Data, Name extends HookName> = NonNullable<Hooks<Data>[Name]>

/** How the hooks of one name, those of each member by themselves, become one. */
export type Combine<Data> = { readonly [Name in HookName]?: (hooks: readonly (readonly Hook<Data, Name>[])[]) => Hook<Data, Name> }

/** Anything that a member may register, once it has been looked at. */
type AnyHook = (request: never) => unknown

/**
 * The hooks of members that are combined: for each name one hook, which is registered at the broker while any member has one, since `authenticate`
 * for example keeps everybody out where nobody answers. The others go to the broker as they are, which refuses names that it does not know.
 */
export class HookLists<Data> {
  readonly #combine: ReadonlyMap<string, (hooks: readonly (readonly AnyHook[])[]) => AnyHook>
  readonly #lists = new Map<string, Map<number, AnyHook[]>>()
  readonly #unhook = new Map<string, () => void>()

  constructor (combine: Combine<Data>) {
    this.#combine = new Map(Object.entries(combine)) as unknown as ReadonlyMap<string, (hooks: readonly (readonly AnyHook[])[]) => AnyHook>
  }

  register (broker: Broker<Data>, member: number, hooks: Hooks<Data>): () => void {
    const entries: [string, unknown][] = Object.entries(hooks)
    const others = Object.fromEntries(entries.filter(([name]) => !this.#combine.has(name)))
    const undo = [broker.hook(others)]
    for (const [name, hook] of entries) if (hook !== undefined && this.#combine.has(name)) undo.push(this.#add(broker, name, member, hook))
    return () => { for (const take of undo) take() }
  }

  #add (broker: Broker<Data>, name: string, member: number, hook: unknown): () => void {
    if (typeof hook !== 'function') throw optionInvalid(`hooks.${name}`, 'a function', hook)
    const lists = this.#lists.get(name) ?? new Map<number, AnyHook[]>()
    this.#lists.set(name, lists)
    lists.set(member, [...lists.get(member) ?? [], hook as AnyHook])
    this.#refresh(broker, name)
    return () => {
      lists.set(member, lists.get(member)?.filter(other => other !== hook) ?? [])
      this.#refresh(broker, name)
    }
  }

  /** Puts the combined hook of what is there now in the place of the former one: first the new, so that there is no gap in between. */
  #refresh (broker: Broker<Data>, name: string): void {
    const former = this.#unhook.get(name)
    const hooks = [...this.#lists.get(name) ?? []].sort(([a], [b]) => a - b).map(([, list]) => list).filter(list => list.length > 0)
    const combined = hooks.length === 0 ? undefined : this.#combine.get(name)?.(hooks)
    if (combined === undefined) this.#unhook.delete(name)
    else this.#unhook.set(name, broker.hook({ [name]: combined }))
    former?.()
  }
}
