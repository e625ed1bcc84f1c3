import { Fifo } from '../base/fifo.ts'
import type { Message } from '../contract/message.ts'
import { PacketType, type AcknowledgeType, QoS, type RetainHandling } from '../packet/packets.ts'
import type { Session } from '../session/session.ts'

/** How the host subscribes in its own process. */
export interface SubscribeOptions {
  /** Default 0. */
  qos?: QoS
  /** Messages that may wait for the loop; over it QoS 0 is dropped, QoS 1 and 2 wait in the Session's queue with its limits. Default 1,000. */
  bufferSize?: number
  /** 0 send retained messages, 2 do not (section 3.8.3.1). Default 0. */
  retainHandling?: RetainHandling
  /** Ends the subscription. */
  signal?: AbortSignal
}

interface Waiting { readonly message: Message, readonly qos: QoS, readonly packetIdentifier: number }

/**
 * A subscription of the host itself: the same Session and the same rules as for any Client, with a loop in the place of a
 * socket. Going on to the next message acknowledges the one before. It ends with `unsubscribe()`, `break`, its signal or the broker.
 */
// It is a PacketSink, too; to say so would put what is internal into the published types.
export class LocalSubscription implements AsyncIterableIterator<Message> {
  readonly topicFilter: string
  readonly #session: Session
  readonly #bufferSize: number
  readonly #onEnd: (subscription: LocalSubscription) => void
  readonly #signal: AbortSignal | undefined
  readonly #buffer = new Fifo<Waiting>()
  #taken: Waiting | undefined = undefined
  /** Calls of `next()` that wait for a message. */
  readonly #sleeping = new Fifo<() => void>()
  #hasEnded = false

  /** @internal */
  constructor (topicFilter: string, session: Session, options: SubscribeOptions, onEnd: (subscription: LocalSubscription) => void) {
    this.topicFilter = topicFilter
    this.#session = session
    this.#bufferSize = options.bufferSize ?? 1000
    this.#onEnd = onEnd
    this.#signal = options.signal
    options.signal?.addEventListener('abort', this.#end, { once: true })
  }

  /** @internal */
  get session (): Session { return this.#session }

  /** Ends the subscription; a loop over it ends, too. */
  unsubscribe (): void { this.#end() }

  [Symbol.asyncIterator] (): this { return this }

  async next (): Promise<IteratorResult<Message, undefined>> {
    this.#acknowledgeTaken()
    while (this.#buffer.length === 0 && !this.#hasEnded) await new Promise<void>(resolve => { this.#sleeping.push(resolve) })
    const next = this.#hasEnded ? undefined : this.#buffer.shift()
    if (next === undefined) return { done: true, value: undefined }
    this.#taken = next
    return { done: false, value: next.message }
  }

  return (): Promise<IteratorResult<Message, undefined>> {
    this.#end()
    return Promise.resolve({ done: true, value: undefined })
  }

  /** @internal */
  get isCongested (): boolean { return this.#buffer.length >= this.#bufferSize }

  /** @internal */
  get hasRoom (): boolean { return this.#buffer.length < this.#bufferSize }

  /** @internal */
  publish (message: Message, qos: QoS, _retain: boolean, _identifiers: readonly number[], packetIdentifier: number): boolean {
    this.#buffer.push({ message: message.keep(), qos, packetIdentifier })
    this.#sleeping.shift()?.()
    return true
  }

  /** @internal PUBREL is the only one that comes: the answer is PUBCOMP. */
  acknowledge (type: AcknowledgeType, packetIdentifier: number): void {
    if (type === PacketType.pubrel) this.#session.outbox.complete(packetIdentifier)
  }

  /** @internal */
  send (): void { /* a loop needs no other packet */ }

  /** @internal */
  disconnect (): void { this.#end() }

  #acknowledgeTaken (): void {
    const taken = this.#taken
    this.#taken = undefined
    if (taken?.qos === QoS.atLeastOnce) this.#session.outbox.acknowledge(taken.packetIdentifier)
    else if (taken?.qos === QoS.exactlyOnce) this.#session.outbox.release(taken.packetIdentifier)
    this.#session.outbox.pump()
  }

  readonly #end = (): void => {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#signal?.removeEventListener('abort', this.#end)
    this.#onEnd(this)
    for (let wake = this.#sleeping.shift(); wake !== undefined; wake = this.#sleeping.shift()) wake()
  }
}
