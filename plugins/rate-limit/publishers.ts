import { ReasonCode, type AuthorizeResult, type ClientInfo, type MaybePromise, type Message, type PublishRequest } from '../../lib/index.ts'
import type { Counts } from './counts.ts'
import type { Host } from './host.ts'
import { checkPublishLimits, type PublishLimits, type RateLimitOptions } from './options.ts'
import { PublishAllowance } from './publish-allowance.ts'

/** How fast each Client may publish. */
export class Publishers<Data> {
  readonly #limits: NonNullable<RateLimitOptions<Data>['publishes']>
  readonly #host: Host<Data>
  readonly #counts: Counts
  /** Null for a Client without a limit. */
  readonly #allowances = new WeakMap<ClientInfo<Data>, PublishAllowance | null>()
  /** Who published last, which is mostly who publishes next. */
  #publisher: ClientInfo<Data> | undefined = undefined
  #allowance: PublishAllowance | null = null

  constructor (limits: NonNullable<RateLimitOptions<Data>['publishes']>, host: Host<Data>, counts: Counts) {
    this.#limits = limits
    this.#host = host
    this.#counts = counts
  }

  /** At once, unless the Client is to wait. A Will Message passes: there is one for each connection, and those are limited. */
  readonly authorize = ({ client, message, isWill }: PublishRequest<Data>): MaybePromise<AuthorizeResult> => {
    if (isWill) return true
    if (client !== this.#publisher) this.#turnTo(client)
    const allowance = this.#allowance
    if (allowance === null || allowance.takeAtOnce(message)) return true
    const waitMs = allowance.take(message, this.#host.now())
    return waitMs === 0 ? true : this.#tooMuch(client, message, allowance, waitMs)
  }

  #turnTo (client: ClientInfo<Data>): void {
    let allowance = this.#allowances.get(client)
    if (allowance === undefined) this.#allowances.set(client, allowance = this.#allowanceOf(client))
    this.#publisher = client
    this.#allowance = allowance
  }

  #allowanceOf (client: ClientInfo<Data>): PublishAllowance | null {
    if (typeof this.#limits !== 'function') return new PublishAllowance(this.#limits, this.#host.now())
    const limits: PublishLimits | undefined = this.#limits(client)
    if (limits === undefined) return null
    checkPublishLimits(limits)
    return new PublishAllowance(limits, this.#host.now())
  }

  #tooMuch (client: ClientInfo<Data>, message: Message, allowance: PublishAllowance, waitMs: number): MaybePromise<AuthorizeResult> {
    const { action = 'delay', maximumDelayMs = 4000 } = allowance.limits
    if (action === 'delay' && waitMs <= maximumDelayMs) {
      this.#counts.publishesDelayed++
      return new Promise(resolve => { this.#host.clock.after(Math.ceil(waitMs), () => { resolve(true) }) })
    }
    allowance.giveBack(message)
    this.#counts.publishesRefused++
    if (action === 'disconnect') this.#disconnect(client)
    return ReasonCode.quotaExceeded
  }

  #disconnect ({ clientIdentifier }: ClientInfo<Data>): void {
    this.#counts.publishersDisconnected++
    this.#host.broker?.disconnect(clientIdentifier, ReasonCode.messageRateTooHigh)
  }
}
