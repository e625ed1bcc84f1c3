import type { Limits } from './base/limits.ts'
import type { AuthenticationMethod } from './contract/authentication.ts'
import type { Clock } from './contract/clock.ts'
import type { Hooks } from './contract/hooks.ts'
import type { Logger } from './contract/logger.ts'
import type { SharedSubscriptionStrategy } from './router/shared-subscription.ts'

/** How a broker is built. Everything is optional; a wrong value throws an `MqttError` that names it. */
export interface BrokerOptions<Data = unknown> {
  /** Decisions and observers of the host; they run before those of plugins. */
  hooks?: Hooks<Data>
  /** Enhanced authentication methods (section 4.12), for example `scramSha256()`. */
  authenticationMethods?: readonly AuthenticationMethod<Data>[]
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
  /** The part before the topic in Response Information for Clients that ask for it (section 3.2.2.3.15). Default: none is given. */
  responseInformation?: (client: { readonly clientIdentifier: string }) => string
  /** Default: silent. */
  logger?: Logger
  /** Default: the clock of the machine. */
  clock?: Clock
}
