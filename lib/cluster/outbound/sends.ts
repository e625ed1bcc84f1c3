import type { Send } from '../../contract/cluster-changes.ts'
import { messagesInFrame } from '../../contract/emitter.ts'
import { QoS } from '../../packet/packets.ts'
import type { RemoteNode } from '../../router/remote-node.ts'
import type { ClusterServices } from '../node/cluster-services.ts'
import { FrameCodec, type Piece } from '../inbox/frames.ts'
import type { Gathered } from './gathered.ts'
import type { OutgoingMessage } from './outgoing-message.ts'

/** Over it a frame is cut in two. */
const frameBytes = 512 * 1024

/** Puts what has gathered into frames, one for each node that gets any of it, by what the nodes want now. */
export class Sends {
  readonly #services: ClusterServices
  readonly #frames = new FrameCodec()
  readonly #open = new Map<number, Frame>()
  readonly #full: Send[] = []

  /** @param own this node's generation */
  constructor (services: ClusterServices, { confirmed, controls, messages }: Gathered, own: number) {
    this.#services = services
    for (const [generation, position] of confirmed) this.#add(generation, whole(this.#frames.confirmation(own, position)))
    for (const [generation, items] of controls) for (const item of items) this.#add(generation, whole(item))
    for (const outgoing of messages) this.#address(outgoing)
  }

  get all (): Send[] {
    return [...this.#full, ...[...this.#open].map(([generation, frame]) => ({ generation, bytes: frame.finish() }))]
  }

  #address (outgoing: OutgoingMessage): void {
    const { message, isForAll, shares } = outgoing
    const nodes = isForAll ? this.#services.router.remotesOf(message.topic) : none
    for (const node of nodes) {
      if (node.isCongested && message.qos === QoS.atMostOnce) this.#services.dropped(undefined, message, 'slowConsumer')
      else if (!shares.has(node)) this.#add(node.generation, outgoing)
    }
    for (const [node, filters] of shares) this.#add(node.generation, whole(this.#frames.sharedMessage(message, nodes.includes(node), filters)))
  }

  #add (generation: number, item: Piece): void {
    let frame = this.#open.get(generation)
    if (frame?.hasRoomFor(item) === false) {
      this.#full.push({ generation, bytes: frame.finish() })
      frame = undefined
    }
    if (frame === undefined) this.#open.set(generation, frame = new Frame())
    frame.add(item)
  }
}

/** What goes to one node at once. */
class Frame {
  #items = 0
  #length = 0
  readonly #pieces: Buffer[] = []
  /** Where the last piece begins, and how far it has come. */
  #bytes: Buffer = nothing
  #start = 0
  #end = 0

  hasRoomFor ({ start, end }: Piece): boolean {
    return this.#length + end - start <= frameBytes && this.#items < messagesInFrame - 1
  }

  /** Items that stand one behind the other are one piece. */
  add ({ bytes, start, end }: Piece): void {
    if (bytes !== this.#bytes || start !== this.#end) {
      this.#close()
      this.#bytes = bytes
      this.#start = start
    }
    this.#end = end
    this.#items++
    this.#length += end - start
  }

  finish (): Buffer {
    this.#close()
    const [first = nothing, ...others] = this.#pieces
    return others.length === 0 ? first : Buffer.concat(this.#pieces, this.#length)
  }

  #close (): void {
    if (this.#end > this.#start) this.#pieces.push(this.#bytes.subarray(this.#start, this.#end))
    this.#start = this.#end
  }
}

const nothing: Buffer = Buffer.alloc(0)

function whole (bytes: Buffer): Piece { return { bytes, start: 0, end: bytes.length } }

const none: readonly RemoteNode[] = []
