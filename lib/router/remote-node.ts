import type { Message } from '../contract/message.ts'

/** Another node of the cluster. In the tree it is one subscriber, however many of its Sessions have the filter. */
export class RemoteNode {
  readonly generation: number
  /** For people. */
  readonly name: string
  /** What it wants: by Topic Filter, or that of a Shared Subscription, how many of its subscribers are connected. */
  readonly routes: Map<string, number> = new Map<string, number>()
  /** It takes less than it is sent: QoS 0 is dropped, and who publishes more has to wait. */
  isCongested = false

  constructor (generation: number, name: string) {
    this.generation = generation
    this.name = name
  }
}

/** Takes what goes to other nodes. */
export interface Outgoing {
  /** The message goes to every node that wants its topic. */
  send (message: Message): void
  /** It goes to one node, for one of its members of a Shared Subscription. */
  sendShared (message: Message, node: RemoteNode, topicFilter: string): void
  /** The retained message of a topic was set or removed here. @param before what it was */
  retained (topicName: string, before: Message | undefined): void
  /** That of a topic has expired; another node may just have replaced it. */
  retainedExpired (topicName: string, expiresAt: number): void
}
