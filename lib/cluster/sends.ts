import type { Send } from '../contract/cluster-changes.ts'
import { messagesInFrame } from '../contract/emitter.ts'
import { QoS } from '../packet/packets.ts'
import type { RemoteNode } from '../router/remote-node.ts'
import type { ClusterServices } from './cluster-services.ts'
import { FrameCodec } from './frames.ts'
import type { Gathered } from './gathered.ts'
import type { OutgoingMessage } from './outgoing-message.ts'

/** Over it a frame is cut in two. */
const frameBytes = 512 * 1024

/** Puts what has gathered into frames, one for each node that gets any of it, by what the nodes want now. */
export class Sends {
  readonly #services: ClusterServices
  readonly #frames = new FrameCodec()
  readonly #open = new Map<number, { items: Buffer[], bytes: number }>()
  readonly #full: Send[] = []

  /** @param own this node's generation */
  constructor (services: ClusterServices, { confirmed, controls, messages }: Gathered, own: number) {
    this.#services = services
    for (const [generation, position] of confirmed) this.#add(generation, this.#frames.confirmation(own, position))
    for (const [generation, items] of controls) for (const item of items) this.#add(generation, item)
    for (const outgoing of messages) this.#address(outgoing)
  }

  get all (): Send[] {
    return [...this.#full, ...[...this.#open].map(([generation, { items }]) => ({ generation, bytes: Buffer.concat(items) }))]
  }

  #address ({ message, bytes, isForAll, shares }: OutgoingMessage): void {
    const nodes = isForAll ? this.#services.router.remotesOf(message.topic) : none
    for (const node of nodes) {
      if (node.isCongested && message.qos === QoS.atMostOnce) this.#services.dropped(undefined, message, 'slowConsumer')
      else if (!shares.has(node)) this.#add(node.generation, bytes)
    }
    for (const [node, filters] of shares) this.#add(node.generation, this.#frames.sharedMessage(message, nodes.includes(node), filters))
  }

  #add (generation: number, item: Buffer): void {
    const frame = this.#open.get(generation) ?? { items: [], bytes: 0 }
    if (frame.bytes > 0 && (frame.bytes + item.length > frameBytes || frame.items.length >= messagesInFrame - 1)) {
      this.#full.push({ generation, bytes: Buffer.concat(frame.items) })
      frame.items = []
      frame.bytes = 0
    }
    frame.items.push(item)
    frame.bytes += item.length
    this.#open.set(generation, frame)
  }
}

const none: readonly RemoteNode[] = []
