import type { AuthenticateRequest, AuthenticationMethod, Broker, ConnectionInfo, ExchangeRequest, Hooks, Plugin } from '../../../lib/index.ts'
import { scopedBroker } from '../../chain/scope.ts'

/** Is told by what a connection was let in. */
export type Admit = (connection: ConnectionInfo, by: unknown) => void

interface Renewable {
  readonly reload?: () => Promise<void>
  readonly clear?: () => void
}

interface Entry {
  readonly hooks: Hooks
  takeOut: (() => void) | undefined
}

/**
 * A plugin of the list, whose hooks are held back until the whole list is ready, and then are put in force with those of the others in one step.
 * It remembers whom it lets in.
 */
export class AccessUnit {
  readonly plugin: Plugin
  /** Two with the same one are the same: built from the same words of the file. */
  readonly origin: string
  readonly methods: readonly AuthenticationMethod<never>[]
  readonly #entries = new Set<Entry>()
  readonly #admit: (request: AuthenticateRequest | ExchangeRequest, answer: unknown) => void
  #broker: Broker | undefined = undefined

  /** @param by what is remembered of a connection that it lets in; the unit itself where there is nothing finer */
  constructor (plugin: Plugin, origin: string, admit: Admit, by?: (request: AuthenticateRequest | ExchangeRequest) => unknown) {
    this.plugin = plugin
    this.origin = origin
    this.#admit = (request, answer) => { if (letsIn(answer)) admit(request.connection, by === undefined ? this : by(request)) }
    this.methods = (plugin.authenticationMethods ?? []).map(method => this.#recordingMethod(method))
  }

  /** Sets the plugin up, without any effect yet. */
  async setup (broker: Broker): Promise<void> {
    if (this.plugin.hooks !== undefined) this.#add(this.plugin.hooks)
    await this.plugin.setup?.(scopedBroker(broker, hooks => this.#add(hooks)))
  }

  /** Puts its hooks behind all that are there, and takes them out where they were. */
  putInForce (broker: Broker): void {
    this.#broker = broker
    for (const entry of this.#entries) {
      const takeOut = entry.takeOut
      entry.takeOut = broker.hook(entry.hooks)
      takeOut?.()
    }
  }

  /** Takes its hooks out. */
  withdraw (): void {
    this.#broker = undefined
    for (const entry of this.#entries) entry.takeOut = entry.takeOut?.() as undefined
  }

  async close (): Promise<void> { await this.plugin.close?.() }

  /** Has the plugin read its files anew, or forget answers, where it has some. */
  async reload (): Promise<void> {
    const { reload, clear }: Plugin & Renewable = this.plugin
    await reload?.call(this.plugin)
    clear?.call(this.plugin)
  }

  #add (hooks: Hooks): () => void {
    const recording = this.#recording(hooks)
    const entry: Entry = { hooks: recording, takeOut: this.#broker?.hook(recording) }
    this.#entries.add(entry)
    return () => { if (this.#entries.delete(entry)) entry.takeOut?.() }
  }

  #recording (hooks: Hooks): Hooks {
    const { authenticate } = hooks
    if (authenticate === undefined) return hooks
    return { ...hooks, authenticate: request => this.#recorded(request, authenticate(request)) }
  }

  #recordingMethod (method: AuthenticationMethod<never>): AuthenticationMethod<never> {
    return {
      name: method.name,
      start: request => {
        const exchange = method.start(request)
        return { next: data => this.#recorded(request, exchange.next(data)) }
      },
    }
  }

  #recorded<T> (request: AuthenticateRequest | ExchangeRequest, answer: T | Promise<T>): T | Promise<T> {
    if (answer instanceof Promise) return answer.then(late => this.#noted(request, late))
    return this.#noted(request, answer)
  }

  #noted<T> (request: AuthenticateRequest | ExchangeRequest, answer: T): T {
    this.#admit(request, answer)
    return answer
  }
}

function letsIn (answer: unknown): boolean {
  return answer === true || (typeof answer === 'object' && answer !== null && 'allow' in answer && answer.allow === true)
}
