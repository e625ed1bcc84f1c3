import type { Message } from '../../contract/message.ts'
import { QoS } from '../../packet/packets.ts'
import { recipientOf } from '../../router/delivery-plan.ts'
import type { RemoteNode } from '../../router/remote-node.ts'
import type { Session } from '../../session/session.ts'
import type { Piece } from '../inbox/frames.ts'

type Shares = Map<RemoteNode, readonly string[]>

/** Of a message that goes to none; nothing is ever added to it. */
const nowhere: Shares = new Map()

/** A message that goes to other nodes: which, is decided when it is committed. */
export class OutgoingMessage implements Piece {
  readonly message: Message
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
  /** To every node that wants the topic. */
  isForAll = false
  /** By node: Shared Subscriptions of which a member there is to get it. */
  #shares = nowhere

  /** @param piece where the message stands as an item of a frame */
  constructor (message: Message, { bytes, start, end }: Piece) {
    this.message = message
    this.bytes = bytes
    this.start = start
    this.end = end
  }

  get shares (): ReadonlyMap<RemoteNode, readonly string[]> { return this.#shares }

  forShare (node: RemoteNode, topicFilter: string): void {
    if (this.#shares === nowhere) this.#shares = new Map()
    this.#shares.set(node, [...this.#shares.get(node) ?? [], topicFilter])
  }

  notForShare (topicFilter: string): void { this.#withdraw((_, filter) => filter === topicFilter) }

  /** Takes out Shared Subscriptions of which their node has no member any more. @returns those */
  withdraw (): string[] { return this.#withdraw((node, topicFilter) => !node.routes.has(topicFilter)) }

  #withdraw (isGone: (node: RemoteNode, topicFilter: string) => boolean): string[] {
    const withdrawn: string[] = []
    for (const [node, filters] of this.#shares) {
      const gone = filters.filter(topicFilter => isGone(node, topicFilter))
      if (gone.length === 0) continue
      withdrawn.push(...gone)
      if (gone.length < filters.length) this.#shares.set(node, filters.filter(topicFilter => !gone.includes(topicFilter)))
      else this.#shares.delete(node)
    }
    return withdrawn
  }

  /** Takes in what is said of the same message elsewhere. */
  join ({ isForAll, shares }: OutgoingMessage): void {
    this.isForAll ||= isForAll
    for (const [node, filters] of shares) for (const topicFilter of filters) this.forShare(node, topicFilter)
  }
}

/** Each message once, in the order in which they came; QoS 0, of which the order does not tell, first. */
export function inOrder (messages: readonly OutgoingMessage[], order: Iterable<Message>): OutgoingMessage[] {
  const once = new Map<Message, OutgoingMessage>()
  for (const outgoing of messages) {
    const known = once.get(outgoing.message)
    if (known === undefined) once.set(outgoing.message, outgoing)
    else known.join(outgoing)
  }
  const places = new Map<Message, number>()
  for (const message of order) if (!places.has(message)) places.set(message, places.size)
  return [...once.values()].sort((a, b) => (places.get(a.message) ?? -1) - (places.get(b.message) ?? -1))
}

/** A message for everybody, to a Session that was not there when it was handed out. QoS 0 is not kept for anybody. */
export function deliverTo (session: Session, message: Message, isForAll: boolean): void {
  const recipient = isForAll && message.qos > QoS.atMostOnce ? recipientOf(session, message) : undefined
  if (recipient !== undefined) session.deliver(message, message.retain && recipient.retainAsPublished ? recipient.asRetained : recipient, undefined)
}
