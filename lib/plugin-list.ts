import { optionInvalid } from './base/errors.ts'
import type { AuthenticationMethod } from './contract/authentication.ts'
import type { Hooks, MaybePromise } from './contract/hooks.ts'
import type { Logger } from './contract/logger.ts'
import type { HookRunner } from './hooks/hook-runner.ts'

/** A plugin, whatever it attaches to Clients. */
export interface AnyPlugin {
  readonly name: string
  readonly hooks?: Hooks
  readonly authenticationMethods?: readonly AuthenticationMethod[]
  close? (): MaybePromise<void>
}

/** What plugins add to. */
export interface PluginServices {
  readonly hooks: HookRunner
  readonly authenticationMethods: Map<string, AuthenticationMethod>
  readonly logger: Logger
}

/** The plugins of a broker in their order, with what each has registered. */
export class PluginList {
  readonly #services: PluginServices
  readonly #plugins: AnyPlugin[] = []

  constructor (services: PluginServices) {
    this.#services = services
  }

  /**
   * What a plugin has registered is gone again when `setUp` fails.
   * @throws MqttError for a name, of a plugin or a method, that is taken; whatever `setUp` throws
   */
  async add (plugin: AnyPlugin, setUp: () => MaybePromise<void>): Promise<void> {
    if (this.#plugins.some(({ name }) => name === plugin.name)) throw optionInvalid('plugins', 'plugins with different names', plugin.name)
    const takeOut = this.#register(plugin)
    try {
      await setUp()
      this.#plugins.push(plugin)
    } catch (error) {
      takeOut()
      throw error
    }
  }

  /** @returns the way to take out again what it has brought */
  #register ({ hooks, authenticationMethods }: AnyPlugin): () => void {
    const methods = authenticationMethods ?? []
    this.#checkMethods(methods)
    const unhook = hooks === undefined ? undefined : this.#services.hooks.add(hooks)
    this.addMethods(methods)
    return () => {
      unhook?.()
      for (const { name } of methods) this.#services.authenticationMethods.delete(name)
    }
  }

  addMethods (methods: readonly AuthenticationMethod[]): void {
    this.#checkMethods(methods)
    for (const method of methods) this.#services.authenticationMethods.set(method.name, method)
  }

  #checkMethods (methods: readonly AuthenticationMethod[]): void {
    const names = [...this.#services.authenticationMethods.keys(), ...methods.map(({ name }) => name)]
    const twice = names.find((name, i) => names.indexOf(name) < i)
    if (twice !== undefined) throw optionInvalid('authenticationMethods', 'methods with different names', twice)
  }

  /** Each gets its turn, the last one first; the first error is thrown when all had theirs. */
  async close (): Promise<void> {
    const errors: unknown[] = []
    for (const plugin of this.#plugins.reverse()) {
      try {
        await plugin.close?.()
      } catch (error) {
        errors.push(error)
        this.#services.logger.error({ err: error, plugin: plugin.name }, `the plugin ${plugin.name} could not be closed`)
      }
    }
    if (errors.length > 0) throw errors[0] as Error
  }
}
