import { optionInvalid, type Broker, type Hooks, type Plugin } from '../../lib/index.ts'
import { scopedBroker } from './scope.ts'

/** A plugin that combines others. */
export interface Combination<Data = unknown> extends Plugin<Data> {
  /**
   * Reloads those of its plugins that can be reloaded, in their order.
   * @throws what the first of them throws that fails, when all had their turn
   */
  reload (): Promise<void>
}

/** Where the hooks of a member go; the returned function takes them out again. */
export type Register<Data> = (broker: Broker<Data>, member: number, hooks: Hooks<Data>) => () => void

/** Plugins that are set up, reloaded and closed as one. */
export class Members<Data> {
  readonly #plugins: readonly Plugin<Data>[]
  readonly #register: Register<Data>
  readonly #unhook = new Set<() => void>()
  #open: Plugin<Data>[] = []

  constructor (plugins: readonly Plugin<Data>[], register: Register<Data>) {
    this.#plugins = plugins
    this.#register = register
  }

  /** In order; when one fails, those before it are closed again. */
  async setup (broker: Broker<Data>): Promise<void> {
    try {
      for (const [member, plugin] of this.#plugins.entries()) await this.#setup(broker, member, plugin)
    } catch (error) {
      for (const unhook of this.#unhook) unhook()
      await this.close().catch(() => undefined) // why it did not start matters more
      throw error
    }
  }

  async reload (): Promise<void> {
    await eachInTurn(this.#open, plugin => isReloadable(plugin) ? plugin.reload() : undefined)
  }

  /** In reverse order. */
  async close (): Promise<void> {
    const open = this.#open.reverse()
    this.#open = []
    await eachInTurn(open, plugin => plugin.close?.())
  }

  async #setup (broker: Broker<Data>, member: number, plugin: Plugin<Data>): Promise<void> {
    const hook = (hooks: Hooks<Data>): (() => void) => this.#hook(broker, member, hooks)
    if (plugin.hooks !== undefined) hook(plugin.hooks)
    await plugin.setup?.(scopedBroker(broker, hook))
    this.#open.push(plugin)
  }

  #hook (broker: Broker<Data>, member: number, hooks: Hooks<Data>): () => void {
    const takeOut = this.#register(broker, member, hooks)
    const unhook = (): void => {
      if (this.#unhook.delete(unhook)) takeOut()
    }
    this.#unhook.add(unhook)
    return unhook
  }
}

/**
 * The plugin that members make together. Their hooks are registered while it is set up, one by one, so that they keep their order.
 * @throws MqttError when there are none, or two have one name
 */
export function combination<Data> (name: string, plugins: readonly Plugin<Data>[], register: Register<Data>): Combination<Data> {
  checkPlugins(plugins)
  const members = new Members(plugins, register)
  return {
    name,
    authenticationMethods: plugins.flatMap(({ authenticationMethods = [] }) => authenticationMethods),
    setup: broker => members.setup(broker),
    reload: () => members.reload(),
    close: () => members.close(),
  }
}

function checkPlugins<Data> (plugins: readonly Plugin<Data>[]): void {
  if (!isList(plugins)) throw optionInvalid('plugins', 'a list of plugins', plugins)
  if (plugins.length === 0) throw optionInvalid('plugins', 'a list of plugins that is not empty', '[]')
  for (const plugin of plugins as readonly unknown[]) if (!isPlugin(plugin)) throw optionInvalid('plugins', 'a list of plugins', plugin)
  const names = plugins.map(plugin => plugin.name)
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) throw optionInvalid('plugins', 'plugins with different names', twice)
}

// Array.isArray would make the elements `any`.
function isList (value: unknown): boolean { return Array.isArray(value) }

function isPlugin (value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string'
}

function isReloadable (plugin: object): plugin is { reload (): Promise<void> } {
  return 'reload' in plugin && typeof plugin.reload === 'function'
}

/** Everybody has a turn; then the first error is thrown. */
async function eachInTurn<T> (list: readonly T[], run: (element: T) => unknown): Promise<void> {
  const errors: unknown[] = []
  for (const element of list) {
    try {
      await run(element)
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw errors[0]
}
