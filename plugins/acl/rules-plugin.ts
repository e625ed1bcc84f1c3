import {
  ErrorCode, MqttError, optionInvalid, ReasonCode,
  type Broker, type ClientInfo, type Hooks, type Plugin,
} from '../../lib/index.ts'
import type { ClientRights } from './client-rights.ts'
import { FileWatch } from './file-watch.ts'
import { RuleSet, type RuleLimits } from './rule-set.ts'

/** A plugin that keeps to rules which can be read anew. */
export interface RulesPlugin<Data = unknown> extends Plugin<Data> {
  /**
   * Reads the rules anew and applies them to whoever is connected, and to what was subscribed to and is queued (`broker.revalidate`).
   * @throws MqttError when they are not what they should be; those that were read before stay in force then
   */
  reload (): Promise<void>
}

/** Options that every plugin of this folder has. */
export interface RulesPluginOptions {
  /** Told in errors and logs. */
  readonly name?: string
  /** Reads the file anew when it has changed, which is looked for once a second. Default false. */
  readonly watch?: boolean
  /** Topics whose verdict is remembered for a Client: of those it publishes to, and of those it gets. Default 256. */
  readonly cacheSize?: number
  /** Filters that one rule may have for one Client by claims that are lists; where there are more it counts as one whose claim is missing. Default 1,000. */
  readonly maximumFilters?: number
}

/** @throws MqttError for an option with an unknown name, or one of the common options that is wrong */
export function checkOptions (options: RulesPluginOptions & { readonly path?: unknown }, own: readonly string[]): void {
  const names = ['name', 'watch', 'cacheSize', 'maximumFilters', ...own]
  for (const name of Object.keys(options)) if (!names.includes(name)) throw optionInvalid(name, `one of ${names.join(', ')}`, 'an unknown name')
  const { name, watch, path } = options
  if (name !== undefined && (typeof name !== 'string' || name === '')) throw optionInvalid('name', 'a text that is not empty', name)
  if (watch !== undefined && typeof watch !== 'boolean') throw optionInvalid('watch', 'true or false', watch)
  if (path !== undefined && (typeof path !== 'string' || path === '')) throw optionInvalid('path', 'the path of a file', path)
  limitsOf(options)
}

/** The limits that the options say, or leave to their defaults. */
export function limitsOf ({ cacheSize = 256, maximumFilters = 1000 }: RulesPluginOptions): RuleLimits {
  for (const [name, value] of Object.entries({ cacheSize, maximumFilters })) {
    if (!Number.isSafeInteger(value) || value < 1) throw optionInvalid(name, 'a whole number from 1', value)
  }
  return { cacheSize, maximumFilters }
}

/** Where rules come from. */
export interface RuleSource {
  readonly name: string
  /** Looked at for changes; undefined when it is not to be. */
  readonly watchedPath: string | undefined
  /** @throws MqttError when what is read is not what it should be */
  read (broker: Broker): Promise<RuleSet>
}

const nothing = new RuleSet([], { publish: false, subscribe: false, deliver: false }, new Map(), { cacheSize: 1, maximumFilters: 1 })

/** Makes the plugin: until rules were read it allows nothing. */
export function rulesPlugin<Data> (source: RuleSource): RulesPlugin<Data> {
  const keeper = new RuleKeeper(source)
  return {
    name: source.name,
    hooks: {
      authorizePublish: ({ client, topicName, message }) => keeper.rightsOf(client).mayPublish(topicName, message),
      authorizeSubscribe: ({ client, topicFilter, subscription }) => keeper.rightsOf(client).maySubscribe(topicFilter, subscription),
    },
    setup: async broker => { await keeper.setup(broker) },
    reload: () => keeper.reload(),
    close: () => { keeper.close() },
  }
}

/** Keeps the rules in force and what was worked out from them. */
class RuleKeeper {
  readonly #source: RuleSource
  #rules: RuleSet = nothing
  #rights = new WeakMap<ClientInfo, ClientRights>()
  /** Of the Client that was asked about last: its messages come several at a time. */
  #last: ClientRights | undefined = undefined
  #broker: Broker | undefined = undefined
  #watch: FileWatch | undefined = undefined
  #unhookDeliver: (() => void) | undefined = undefined
  /** One after the other, so that what was read last is what stays. */
  #reloading: Promise<void> = Promise.resolve()

  constructor (source: RuleSource) { this.#source = source }

  rightsOf (client: ClientInfo): ClientRights {
    const last = this.#last
    return last?.client === client && last.isCurrent ? last : this.#last = this.#find(client)
  }

  async setup (broker: Broker): Promise<void> {
    const { watchedPath } = this.#source
    if (watchedPath !== undefined) this.#watch = await FileWatch.start(watchedPath, broker.clock, () => { void this.#reloadChanged(broker) })
    try {
      this.#apply(broker, await this.#source.read(broker))
      this.#broker = broker
    } catch (error) {
      this.close()
      throw error
    }
  }

  reload (): Promise<void> {
    const done = this.#reloading.then(() => this.#reload())
    this.#reloading = done.catch(() => undefined)
    return done
  }

  close (): void {
    this.#watch?.close()
    this.#unhookDeliver?.()
    this.#broker = undefined
    this.#last = undefined
  }

  #find (client: ClientInfo): ClientRights {
    const known = this.#rights.get(client)
    if (known?.isCurrent === true) return known
    const rights = this.#rules.rightsOf(client)
    this.#rights.set(client, rights)
    return rights
  }

  async #reload (): Promise<void> {
    const broker = this.#broker
    if (broker === undefined) throw new MqttError(ErrorCode.brokerClosed, ReasonCode.serverShuttingDown, `the plugin ${this.#source.name} has no broker, or that is closed`)
    this.#apply(broker, await this.#source.read(broker))
    await broker.revalidate()
  }

  async #reloadChanged ({ logger }: Broker): Promise<void> {
    try {
      await this.reload()
      logger.info({ plugin: this.#source.name }, `${String(this.#source.watchedPath)} was read anew`)
    } catch (error) {
      logger.error({ err: error, plugin: this.#source.name }, `${error instanceof Error ? error.message : String(error)}; the rules that were read before stay in force`)
    }
  }

  #apply (broker: Broker, rules: RuleSet): void {
    this.#rules = rules
    this.#rights = new WeakMap()
    this.#last = undefined
    if (rules.hasDeliver) this.#unhookDeliver ??= broker.hook(this.#deliverHook)
    else this.#unhookDeliver = this.#unhookDeliver?.() as undefined
  }

  /** Asked for each message to each Client, so it is only registered while there is something to ask. */
  readonly #deliverHook: Hooks = { authorizeDeliver: ({ client, topicName }) => this.rightsOf(client).mayGet(topicName) }
}
