import { ReasonCode, type AuthenticateRequest, type AuthenticateResult, type AuthenticationMethod, type Broker, type ClientInfo, type ConnectionInfo, type Plugin } from '../../../lib/index.ts'
import { usageError } from '../command-error.ts'
import { asksWho } from '../options/settings.ts'
import type { Settings } from '../options/start-options.ts'
import { pluginOf } from './access-plugins.ts'
import { AccessUnit, type Admit } from './access-unit.ts'
import { UserList } from './users.ts'

export type AccessSettings = Pick<Settings, 'users' | 'access' | 'allowAnonymous'>

/** What decides about clients: units in their order, and by what a client may have been let in to stay. */
export interface AccessList {
  readonly units: readonly AccessUnit[]
  readonly admissions: ReadonlySet<unknown>
  readonly asksWho: boolean
}

const nothing: AccessList = { units: [], admissions: new Set(), asksWho: false }
const anonymous = 'anonymous'

/**
 * Who may connect and do what, as the configuration file has it: `users`, then `access`, then who gives no name. The whole list is exchanged in one step, in which
 * plugins stay that stand in the new one as they did in the old one. Clients that were let in by what is no longer there are ended.
 */
export class Access {
  readonly #admittedBy = new WeakMap<ConnectionInfo, unknown>()
  readonly #methods = new Map<string, AuthenticationMethod<never>>()
  /** The broker keeps methods for good, so each name is given to it once. */
  readonly #methodNames = new Set<string>()
  #list: AccessList = nothing
  #broker: Broker | undefined = undefined

  readonly #admit: Admit = (connection, by) => { this.#admittedBy.set(connection, by) }

  /**
   * Builds the list of settings, of which nothing has an effect yet.
   * @throws {CommandError} that says what is wrong with which plugin.
   */
  async build (settings: AccessSettings): Promise<AccessList> {
    const { users = [], access = [], allowAnonymous } = settings
    const units = await this.#unitsOf(access)
    checkNames(units)
    const isAsking = asksWho(settings)
    const userKeys = new Map(users.map(user => [user.username, JSON.stringify(user)]))
    return {
      units: [...users.length === 0 ? [] : [this.#userUnit(users, userKeys)], ...units, this.#lastUnit(isAsking, allowAnonymous)],
      admissions: new Set([...units, ...userKeys.values(), ...allowAnonymous ? [anonymous] : []]),
      asksWho: isAsking,
    }
  }

  /**
   * Sets the new list up and puts it in the place of the old one.
   * @param whenExchanged called in the step in which that happens
   * @throws whatever a plugin's `setup` throws, and then nothing has changed
   */
  async apply (list: AccessList, whenExchanged?: () => void): Promise<void> {
    const broker = this.#broker
    if (broker === undefined) throw new Error('the access list has no broker')
    const former = this.#list
    const gone = former.units.filter(unit => !list.units.includes(unit))
    await this.#setup(broker, list.units.filter(unit => !former.units.includes(unit)))
    this.#exchange(broker, list, gone)
    whenExchanged?.()
    for (const client of broker.clients()) this.#endUnlessCurrent(client)
    await closeAll(broker, gone)
    await this.#reload(broker, list.units.filter(unit => former.units.includes(unit)))
    if (former !== nothing) await broker.revalidate().catch((error: unknown) => { broker.logger.error({ err: error }, 'subscriptions could not be looked through') })
  }

  /** What the broker is built with. */
  plugin (list: AccessList): Plugin {
    return {
      name: 'access',
      hooks: { connected: ({ client }) => { this.#endUnlessCurrent(client) } }, // the list may have changed since it was let in
      setup: async broker => {
        this.#broker = broker
        await this.apply(list)
      },
      close: () => this.#close(),
    }
  }

  async #close (): Promise<void> {
    if (this.#broker !== undefined) await closeAll(this.#broker, [...this.#list.units].reverse())
    this.#broker = undefined
  }

  /** What has not changed goes on as it is. */
  #unitsOf (access: NonNullable<AccessSettings['access']>): Promise<AccessUnit[]> {
    const kept = new Map(this.#list.units.map(unit => [unit.origin, unit]))
    return Promise.all(access.map(async (entry, index) => {
      const origin = JSON.stringify(entry)
      return kept.get(origin) ?? new AccessUnit(await pluginOf(entry, `access[${index}]`), origin, this.#admit)
    }))
  }

  #userUnit (users: NonNullable<AccessSettings['users']>, keys: ReadonlyMap<string, string>): AccessUnit {
    const { authenticate } = new UserList(users)
    const keyOf = ({ username }: { readonly username: string | undefined }): string | undefined => keys.get(username ?? '')
    return new AccessUnit({ name: 'users', hooks: { authenticate } }, '', this.#admit, keyOf)
  }

  /** Has the last word about clients that nobody else knows; without users and plugins that ask, all of them come in. */
  #lastUnit (isAsking: boolean, allowAnonymous: boolean): AccessUnit {
    const authenticate = ({ username, password }: AuthenticateRequest): AuthenticateResult<never> =>
      isAsking ? (allowAnonymous && username === undefined && password === undefined) || undefined : true
    // A broker that is open need not ask, unless a method that it had once makes it.
    const hooks = isAsking || this.#methodNames.size > 0 ? { authenticate } : {}
    return new AccessUnit({ name: 'anonymous', hooks }, '', this.#admit, () => isAsking ? anonymous : undefined)
  }

  async #setup (broker: Broker, units: readonly AccessUnit[]): Promise<void> {
    const begun: AccessUnit[] = []
    try {
      for (const unit of units) {
        begun.push(unit)
        await unit.setup(broker)
      }
      for (const { methods } of units) for (const { name } of methods) await this.#offer(broker, name)
    } catch (error) {
      await closeAll(broker, begun.reverse())
      throw error
    }
  }

  /** Lets the broker know a method, which whatever unit has it then answers. */
  async #offer (broker: Broker, name: string): Promise<void> {
    if (this.#methodNames.has(name)) return
    const refusing: AuthenticationMethod<never> = { name, start: () => ({ next: () => ({ allow: false, reasonCode: ReasonCode.badAuthenticationMethod }) }) }
    const start: AuthenticationMethod<never>['start'] = request => (this.#methods.get(name) ?? refusing).start(request)
    await broker.use({ name: `access method ${name}`, authenticationMethods: [{ name, start }] })
    this.#methodNames.add(name)
  }

  /** Without a pause in it, so that there is no moment with half of the rules. */
  #exchange (broker: Broker, list: AccessList, gone: readonly AccessUnit[]): void {
    for (const unit of list.units) unit.putInForce(broker)
    for (const unit of gone) unit.withdraw()
    this.#methods.clear()
    for (const { methods } of list.units) for (const method of methods) this.#methods.set(method.name, method)
    this.#list = list
  }

  /** What fails keeps what it had read before. */
  async #reload ({ logger }: Broker, units: readonly AccessUnit[]): Promise<void> {
    for (const unit of units) {
      try {
        await unit.reload()
      } catch (error) {
        logger.error({ err: error, plugin: unit.plugin.name }, `${messageOf(error)}; what ${unit.plugin.name} had read before stays in force`)
      }
    }
  }

  #endUnlessCurrent ({ connection, clientIdentifier }: ClientInfo): void {
    const by = this.#admittedBy.get(connection)
    const isCurrent = by === undefined ? !this.#list.asksWho : this.#list.admissions.has(by)
    if (!isCurrent) this.#broker?.disconnect(clientIdentifier, ReasonCode.notAuthorized)
  }
}

/** Names stand in logs, and two methods of one name would leave open which is meant. */
function checkNames (units: readonly AccessUnit[]): void {
  const twice = (names: readonly string[]): string | undefined => names.find((name, index) => names.indexOf(name) < index)
  const name = twice(units.map(({ plugin }) => plugin.name))
  if (name !== undefined) throw usageError(`access: two plugins have the name "${name}": give one of them another "name"`)
  const method = twice(units.flatMap(({ methods }) => methods.map(({ name }) => name)))
  if (method !== undefined) throw usageError(`access: two plugins have the authentication method "${method}"`)
}

async function closeAll ({ logger }: Broker, units: readonly AccessUnit[]): Promise<void> {
  for (const unit of units) {
    await unit.close().catch((error: unknown) => { logger.error({ err: error, plugin: unit.plugin.name }, `the plugin ${unit.plugin.name} could not be closed`) })
  }
}

export function messageOf (error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
