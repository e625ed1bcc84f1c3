import { isOptions } from '../base/checks.ts'
import { ErrorCode, MqttError, NoAnswerInTime, optionInvalid, optionUnknown } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Clock } from '../contract/clock.ts'
import type { AuthenticateRequest, AuthenticateResult, ConnectPatch, DeliverRequest, Hooks, MaybePromise, PublishRequest } from '../contract/hooks.ts'
import type { Logger } from '../contract/logger.ts'
import { checkAuthenticateResult, checkConnectPatch, isRefusal } from './answers.ts'

type HookName = keyof Hooks
type Hook<K extends HookName> = NonNullable<Hooks[K]>
type Request<K extends HookName> = Parameters<Hook<K>>[0]
type Answer<K extends HookName> = Awaited<ReturnType<Hook<K>>>
type AuthorizeName = 'authorizeClient' | 'authorizePublish' | 'authorizeSubscribe'
type Chains = { [K in HookName]?: readonly Hook<K>[] }
type ObserverName = 'onDrop' | 'connectionEnded' | 'connected' | 'refused' | 'disconnected' | 'subscribed' | 'unsubscribed' | 'published' | 'sessionEnded'

const hookNames: ReadonlySet<string> = new Set<HookName>([
  'authorizeConnection', 'authenticate', 'authorizeClient', 'authorizePublish', 'authorizeSubscribe', 'authorizeTopic', 'authorizeDeliver', 'onConnect', 'onPublish',
  'onSubscribe', 'onDrop', 'connectionEnded', 'connected', 'refused', 'disconnected', 'subscribed', 'unsubscribed', 'published', 'sessionEnded',
])

/** A hook threw, rejected, or did not answer in time. */
class Failure {
  readonly error: MqttError

  constructor (error: MqttError) { this.error = error }
}

/**
 * Runs the hooks of host and plugins as one chain for each name. An answer that is there at once is used at once; only
 * a hook that returns a promise makes its caller wait. A chain that has begun is run to its end as it was then: hooks that
 * come and go meanwhile must not make it skip one.
 */
export class HookRunner {
  /** The hooks of each name in order; undefined where nobody registered one, so that asking costs one comparison. */
  chains: Readonly<Chains> = {}
  /** Whether there is anybody to ask about a delivery. */
  guardsDeliveries: boolean = false
  readonly #registered: Hooks[] = []
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #timeoutMs: number

  constructor (clock: Clock, logger: Logger, timeoutMs: number) {
    this.#clock = clock
    this.#logger = logger
    this.#timeoutMs = timeoutMs
  }

  /**
   * Registers hooks behind those that are there; the returned function takes them out again.
   * @throws MqttError for a name that is no hook, since a misspelt `authorizePublish` would allow everything
   */
  add (hooks: Hooks): () => void {
    if (!isOptions(hooks)) throw optionInvalid('hooks', 'an object of hooks', hooks)
    for (const [name, hook] of Object.entries(hooks)) checkHook(name, hook)
    this.#registered.push(hooks)
    this.#compile()
    return () => {
      const index = this.#registered.indexOf(hooks)
      if (index >= 0) this.#registered.splice(index, 1)
      this.#compile()
    }
  }

  /**
   * Waits for something else that a plugin does, under the same deadline.
   * @param name told in the log
   * @throws MqttError Not authorized when it throws, rejects or takes too long
   */
  async guard<T> (name: string, ask: () => MaybePromise<T>): Promise<T> {
    const answer = await this.#await(name, Promise.resolve().then(ask))
    if (answer instanceof Failure) throw notLetIn(answer)
    return answer
  }

  /**
   * The first decisive answer; undefined when all abstained.
   * @throws MqttError Not authorized when a hook fails; rejects with it where one before it took its time
   */
  authenticate (request: AuthenticateRequest, chain: readonly Hook<'authenticate'>[] = this.chains.authenticate ?? [], from = 0): MaybePromise<AuthenticateResult> {
    for (let i = from; i < chain.length; i++) {
      const answer = this.#ask('authenticate', chain[i] as Hook<'authenticate'>, request)
      if (answer instanceof Promise) return answer.then(late => this.#decisive(late) ?? this.authenticate(request, chain, i + 1))
      const result = this.#decisive(answer)
      if (result !== undefined) return result
    }
    return undefined
  }

  /** Success when every hook allows, else the first refusal. */
  authorize<K extends AuthorizeName> (name: K, request: Request<K>, chain: readonly Hook<K>[] = this.chains[name] ?? [], from = 0): MaybePromise<ReasonCode> {
    const hook = chain[from]
    return hook === undefined ? ReasonCode.success : this.#goOn(name, this.#ask(name, hook, request), request, chain, from + 1)
  }

  /**
   * The same for `authorizePublish`, which is asked for every message. Here and in {@link mayDeliver} hooks are called where no others are, so
   * that the engine learns which one it is that is called, and can take it in: a call that it knows nothing of costs several times as much.
   */
  authorizePublish (request: PublishRequest, chain: readonly Hook<'authorizePublish'>[] = this.chains.authorizePublish ?? []): MaybePromise<ReasonCode> {
    try {
      for (let i = 0; i < chain.length; i++) {
        const answer = (chain[i] as Hook<'authorizePublish'>)(request)
        if (answer !== true) return this.#goOn('authorizePublish', isThenable(answer) ? this.#await('authorizePublish', answer) : answer, request, chain, i + 1)
      }
      return ReasonCode.success
    } catch (error) {
      this.#report('authorizePublish', error)
      return ReasonCode.notAuthorized
    }
  }

  /** Whether every `authorizeDeliver` allows, which is asked for every message to every Client. */
  mayDeliver (request: DeliverRequest, chain: readonly Hook<'authorizeDeliver'>[] = this.chains.authorizeDeliver ?? []): boolean {
    try {
      for (let i = 0; i < chain.length; i++) {
        const answer: unknown = (chain[i] as Hook<'authorizeDeliver'>)(request)
        if (answer !== true) return this.#refused('authorizeDeliver', answer)
      }
      return true
    } catch (error) {
      this.#report('authorizeDeliver', error)
      return false
    }
  }

  /** Whether every `authorizeConnection` allows. */
  mayConnect (request: Request<'authorizeConnection'>): boolean { return this.#allow('authorizeConnection', request) === true }

  /** Whether every `authorizeTopic` allows; undefined when one of them failed, which is no answer to be remembered. */
  mayGet (request: Request<'authorizeTopic'>): boolean | undefined { return this.#allow('authorizeTopic', request) }

  #allow<K extends 'authorizeConnection' | 'authorizeTopic'> (name: K, request: Request<K>): boolean | undefined {
    for (const hook of this.chains[name] ?? []) {
      const answer: unknown = this.#ask(name, hook, request)
      if (answer instanceof Failure) return undefined
      if (answer !== true) return this.#refused(name, answer)
    }
    return true
  }

  /**
   * Lets each `on…` hook patch what the ones before it made.
   * @param apply puts a patch on a value; the next hook gets the request that `ask` makes of the result
   * @throws MqttError when a hook fails
   */
  patch<K extends 'onConnect' | 'onPublish' | 'onSubscribe', V> (
    name: K, value: V, ask: (value: V) => Request<K>, apply: (value: V, patch: NonNullable<Answer<K>>) => V,
    chain: readonly Hook<K>[] = this.chains[name] ?? [], from = 0,
  ): MaybePromise<V> {
    for (let i = from, current = value; ; i++) {
      if (i >= chain.length) return current
      const answer = this.#ask(name, chain[i] as Hook<K>, ask(current))
      if (answer instanceof Promise) return answer.then(late => this.patch(name, this.#patched(name, current, late, apply), ask, apply, chain, i + 1))
      current = this.#patched(name, current, answer, apply)
    }
  }

  /** Tells observers. Their errors are logged and change nothing. */
  notify<K extends ObserverName> (name: K, event: Request<K>): void {
    const chain = this.chains[name]
    if (chain === undefined) return
    for (const hook of chain) void this.#ask(name, hook, event)
  }

  #goOn<K extends AuthorizeName> (name: K, answer: unknown, request: Request<K>, chain: readonly Hook<K>[], next: number): MaybePromise<ReasonCode> {
    if (answer instanceof Promise) return answer.then(late => this.#goOn(name, late, request, chain, next))
    const result = this.#verdict(name, answer)
    return result === ReasonCode.success ? this.authorize(name, request, chain, next) : result
  }

  /** A hook that has to answer at once did not say true. */
  #refused (name: HookName, answer: unknown): false {
    if (answer === false) return false
    if (isThenable(answer)) answer.then(undefined, () => undefined)
    this.#report(name, isThenable(answer) ? new Error('it returned a promise, but must answer at once') : optionInvalid('answer', 'true or false', answer))
    return false
  }

  // Throwing, rejecting and timing out are refusals, and so is what nobody understands: a plugin that broke must not open the door.
  #decisive (answer: AuthenticateResult | Failure): AuthenticateResult {
    if (answer instanceof Failure) throw notLetIn(answer)
    try {
      checkAuthenticateResult(answer)
    } catch (error) {
      throw notLetIn(this.#report('authenticate', error))
    }
    return answer
  }

  #verdict (name: HookName, answer: unknown): ReasonCode {
    if (answer === true || answer === ReasonCode.success) return ReasonCode.success
    if (isRefusal(answer)) return answer
    if (answer !== false && !(answer instanceof Failure)) this.#report(name, optionInvalid('answer', 'true, false or a Reason Code of 0x80 or above', answer))
    return ReasonCode.notAuthorized
  }

  /** What `apply` throws was told where it was thrown, but for a patch that says what there is not. */
  #patched<V, P> (name: HookName, value: V, answer: P | undefined | Failure, apply: (value: V, patch: NonNullable<P>) => V): V {
    if (answer instanceof Failure) throw answer.error
    if (answer === undefined || answer === null) return value
    try {
      return apply(value, answer)
    } catch (error) {
      throw error instanceof MqttError && error.code === ErrorCode.optionInvalid ? this.#report(name, error).error : error
    }
  }

  #ask<K extends HookName> (name: K, hook: Hook<K>, request: Request<K>): Answer<K> | Failure | Promise<Answer<K> | Failure> {
    try {
      const answer = (hook as (request: Request<K>) => MaybePromise<Answer<K>>)(request)
      return isThenable(answer) ? this.#await(name, answer) : answer
    } catch (error) {
      return this.#report(name, error)
    }
  }

  async #await<T> (name: string, answer: PromiseLike<T>): Promise<T | Failure> {
    let stop: (() => void) | undefined
    const deadline = new Promise<never>((_resolve, reject) => {
      stop = this.#clock.after(this.#timeoutMs, () => { reject(new NoAnswerInTime(`no answer within ${this.#timeoutMs} ms (hookTimeoutMs)`)) })
    })
    try {
      return await Promise.race([answer, deadline])
    } catch (error) {
      return this.#report(name, error)
    } finally {
      stop?.()
    }
  }

  #report (name: string, cause: unknown): Failure {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const error = new MqttError(ErrorCode.hookFailed, ReasonCode.implementationSpecificError, `the hook ${name} failed: ${reason}`, { cause })
    this.#logger.error({ err: error, hook: name }, error.message)
    return new Failure(error)
  }

  #compile (): void {
    const chains: Record<string, unknown[]> = {}
    for (const hooks of this.#registered) {
      for (const [name, hook] of Object.entries(hooks)) if (hook !== undefined) (chains[name] ??= []).push(hook)
    }
    this.chains = chains
    this.guardsDeliveries = this.chains.authorizeTopic !== undefined || this.chains.authorizeDeliver !== undefined
  }
}

/** Puts the patches for CONNECT together: what a later hook says of a field counts. */
export function mergeConnectPatch (before: ConnectPatch, patch: ConnectPatch): ConnectPatch {
  checkConnectPatch(patch)
  return { ...before, ...patch }
}

function checkHook (name: string, hook: unknown): void {
  if (!hookNames.has(name)) throw optionUnknown(`hooks.${name}`, hookNames)
  if (hook !== undefined && typeof hook !== 'function') throw optionInvalid(`hooks.${name}`, 'a function', hook)
}

function isThenable (value: unknown): value is PromiseLike<never> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

// With a code of its own: nobody has shown wrong credentials, and who counts those must not count this.
function notLetIn ({ error }: Failure): MqttError {
  return new MqttError(error.code, ReasonCode.notAuthorized, error.message, { cause: error.cause })
}
