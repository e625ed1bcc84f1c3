import type { Limits } from '../base/limits.ts'
import type { AuthenticationMethod } from '../contract/authentication.ts'
import type { Clock } from '../contract/clock.ts'
import type { Emitter } from '../contract/emitter.ts'
import type { ClientInfo, Hooks } from '../contract/hooks.ts'
import type { Logger } from '../contract/logger.ts'
import type { Store } from '../contract/store.ts'
import type { SharedSubscriptionStrategy } from '../router/shared-subscription.ts'

/** How a broker is built. Everything is optional; a wrong value throws an `MqttError` that names it. */
export interface BrokerOptions<Data = unknown> {
  /** Decisions and observers of the host; they run before those of plugins. */
  hooks?: Hooks<Data>
  /** Enhanced authentication methods (section 4.12), for example `scramSha256()`. */
  authenticationMethods?: readonly AuthenticationMethod<Data>[]
  /** Where Session State and retained messages outlive the process, for example `lmdbPersistence({ path: './data' })`. Default: they end with it. */
  persistence?: Store
  /** How several brokers that share a store become one: `createBroker({ ...redisCluster({ redis }) })` sets it with `persistence`. Default: this broker is alone. */
  emitter?: Emitter
  /** What this node of a cluster is called in logs and `cluster.nodes()`. Default: host name and process identifier. */
  nodeName?: string
  /**
   * Whether the acknowledgement of a QoS 1 or 2 message waits until it is stored (`store`) or not (`memory`: faster, and lost when the
   * process dies within the next milliseconds). Asked for messages that have to be stored only; called for each, so it must be quick. Default: always `store`.
   */
  durability?: (message: { readonly topicName: string, readonly client: ClientInfo<Data> | undefined }) => 'memory' | 'store'
  /** What is absent keeps its default. */
  limits?: Partial<Limits>
  /** Milliseconds between two updates of the `$SYS` topics; 0 turns them off. Default 10,000. */
  sysIntervalMs?: number
  /** Who gets a message of a Shared Subscription (section 4.8.2). Default `roundRobin`. */
  sharedSubscriptionStrategy?: SharedSubscriptionStrategy
  /**
   * What happens when an MQTT 3.x Client publishes what it may not, since 3.x cannot say so: `acknowledge` and drop,
   * `ignore` without an acknowledgement, or `close` the connection. MQTT 5.0 Clients get Reason Code 0x87. Default `acknowledge`.
   */
  deniedPublish?: 'acknowledge' | 'ignore' | 'close'
  /** Milliseconds a hook's promise may take before it counts as a refusal. Default 5,000. */
  hookTimeoutMs?: number
  /** Milliseconds that `close()` waits for connections to end by themselves. Default 2,000. */
  closeTimeoutMs?: number
  /** Told to MQTT 5.0 Clients when the broker shuts down: where else to connect (section 3.14.2.2.5). */
  serverReference?: string
  /**
   * Whether CONNACK and DISCONNECT of MQTT 5.0 tell a Client in a Reason String what was wrong, where the Reason Code does not say it all, for example
   * `Topic Alias 7 is not within 1 to 5`. What a hook gives as `reasonString` is told in any case, and the logger and the events have both. Default true.
   */
  reasonStrings?: boolean
  /** The part before the topic in Response Information for Clients that ask for it (section 3.2.2.3.15). Default: none is given. */
  responseInformation?: (client: { readonly clientIdentifier: string }) => string
  /** Default: silent. */
  logger?: Logger
  /** Default: the clock of the machine. */
  clock?: Clock
}
