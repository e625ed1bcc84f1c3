import {
  checkBoolean, checkNames, checkNumber, checkText, ErrorCode, MqttError, ReasonCode, ReloadableFile,
  type Broker, type ClientInfo, type Hooks, type Plugin,
} from '../../lib/index.ts'
import type { ClientRights } from './client-rights.ts'
import { groupsOfClaim } from './identity.ts'
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
  checkNames(options, ['name', 'watch', 'cacheSize', 'maximumFilters', ...own])
  checkText('name', options.name)
  checkBoolean('watch', options.watch)
  checkNumber('cacheSize', options.cacheSize, 1, 2 ** 24)
  checkNumber('maximumFilters', options.maximumFilters, 1, 2 ** 24)
}

/** The limits that the options say, or leave to their defaults. */
export function limitsOf ({ cacheSize = 256, maximumFilters = 1000 }: RulesPluginOptions): RuleLimits {
  return { cacheSize, maximumFilters }
}

/** Where rules come from. */
export interface RuleSource {
  readonly name: string
  /** Undefined for rules in code. */
  readonly file: { readonly path: string, readonly watch: boolean | undefined } | undefined
  /**
   * @param text of the file, empty where there is none
   * @throws MqttError when that is not what it should be
   */
  parse (text: string, broker: Broker): RuleSet
}

const nothing = new RuleSet([], { publish: false, subscribe: false, deliver: false }, groupsOfClaim, { cacheSize: 1, maximumFilters: 1 })

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
  readonly #file: ReloadableFile | undefined
  #broker: Broker | undefined = undefined
  /** Not during `setup`: plugins that are not set up yet would take subscriptions away. */
  #isInForce = false
  #unhookDeliver: (() => void) | undefined = undefined

  constructor (source: RuleSource) {
    this.#source = source
    this.#file = source.file === undefined ? undefined : new ReloadableFile({ ...source.file, load: text => this.#take(text) })
  }

  rightsOf (client: ClientInfo): ClientRights {
    const last = this.#last
    return last?.client === client && last.isCurrent ? last : this.#last = this.#find(client)
  }

  async setup (broker: Broker): Promise<void> {
    this.#broker = broker
    await (this.#file === undefined ? this.#take('') : this.#file.open(broker))
    this.#isInForce = true
  }

  async reload (): Promise<void> {
    await (this.#file === undefined ? this.#take('') : this.#file.reload())
  }

  close (): void {
    this.#file?.close()
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

  async #take (text: string): Promise<void> {
    const broker = this.#broker
    if (broker === undefined) throw new MqttError(ErrorCode.brokerClosed, ReasonCode.serverShuttingDown, `the plugin ${this.#source.name} has no broker, or that is closed`)
    this.#apply(broker, this.#source.parse(text, broker))
    if (this.#isInForce) await broker.revalidate()
  }

  #apply (broker: Broker, rules: RuleSet): void {
    this.#rules = rules
    this.#rights = new WeakMap()
    this.#last = undefined
    if (rules.hasDeliver) this.#unhookDeliver ??= broker.hook(this.#deliverHook)
    else this.#unhookDeliver = this.#unhookDeliver?.() as undefined
  }

  /** Only registered while there is something to ask. */
  readonly #deliverHook: Hooks = { authorizeTopic: ({ client, topicName }) => this.#find(client).mayGet(topicName) }
}
