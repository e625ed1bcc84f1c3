import { ReasonCode } from '../base/reason-codes.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { NodeState, PresenceEvent } from '../contract/emitter.ts'

/** A Client that is connected to some node of the cluster. */
export interface ClusterClient {
  readonly clientIdentifier: string
  /** Of the node that it is connected to, see {@link NodeState}. */
  readonly generation: number
}

/** The cluster that a broker is a node of, as its host sees it: `broker.cluster`. */
export class ClusterView {
  readonly #cluster: Cluster

  /** @internal */
  constructor (cluster: Cluster) {
    this.#cluster = cluster
  }

  /** This node; it counts up with each node that joins, and changes when this one has to join anew. */
  get generation (): number { return this.#cluster.generation }

  /** Whether the other nodes can be reached. While they cannot, acknowledgements of what has to be stored wait. */
  get isReachable (): boolean { return this.#cluster.isReachable }

  /** The nodes of the cluster, those that died and were not taken over yet included. */
  nodes (): Promise<readonly NodeState[]> { return this.#cluster.nodes() }

  /** The Clients that are connected, node by node; those who come or go meanwhile may be told or not. */
  async * clients (): AsyncGenerator<ClusterClient> {
    for (const { generation, isAlive } of await this.nodes()) {
      if (!isAlive) continue
      for await (const clientIdentifier of this.#cluster.emitter.online(generation)) yield { clientIdentifier, generation }
    }
  }

  /**
   * Who comes online and goes offline at any node, from now on: each time once. A Client that moves to another node stays online.
   * @param options its signal ends it
   */
  presence ({ signal = new AbortController().signal }: { readonly signal?: AbortSignal } = {}): AsyncIterable<PresenceEvent> {
    return this.#cluster.emitter.presence(signal)
  }

  /**
   * Ends a Client's connection, at whichever node it is; its Session stays.
   * @param reasonCode told to MQTT 5.0 Clients. Default Administrative action (0x98)
   * @returns false when it is connected nowhere
   */
  kick (clientIdentifier: string, reasonCode: ReasonCode = ReasonCode.administrativeAction): Promise<boolean> {
    return this.#cluster.kick(clientIdentifier, reasonCode)
  }
}
