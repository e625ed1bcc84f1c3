import { Metrics } from './base/metrics.ts'
import { hostname } from 'node:os'
import { version } from './base/version.ts'
import { Cluster, type ClusterEvents } from './cluster/cluster.ts'
import type { AuthenticationMethod } from './contract/authentication.ts'
import { systemClock } from './contract/clock.ts'
import { silentLogger } from './contract/logger.ts'
import type { DropReason } from './contract/hooks.ts'
import type { Message } from './contract/message.ts'
import { HookRunner } from './hooks/hook-runner.ts'
import { defaultHighWaterMark, MemoryPressure } from './memory-pressure.ts'
import { completeLimits } from './options/option-checks.ts'
import type { BrokerOptions } from './options/options.ts'
import type { BrokerServices } from './protocol/client/broker-services.ts'
import { mayDeliver } from './protocol/subscribe/revalidate.ts'
import { publishWill } from './protocol/connect/will.ts'
import { Router } from './router/router.ts'
import type { DeliveryGate } from './router/delivery-gate.ts'
import { SessionLog, type LogServices } from './session/session-log.ts'
import type { Session } from './session/session.ts'
import type { Share } from './session/delivery.ts'
import type { QueueState } from './contract/store.ts'
import { Journal } from './store/journal.ts'
import type { DropTarget } from './session/session-services.ts'
import { Sessions } from './session/sessions.ts'
import { TopicTable } from './topic/topic.ts'

/** The parts of one broker, put together: the only place that knows all of them. */
export class BrokerParts implements BrokerServices {
  readonly limits: BrokerServices['limits']
  readonly metrics: Metrics = new Metrics()
  readonly clock: BrokerServices['clock']
  readonly logger: BrokerServices['logger']
  readonly hooks: HookRunner
  readonly router: Router
  readonly sessions: Sessions
  readonly topics: TopicTable = new TopicTable()
  readonly pressure: MemoryPressure
  readonly journal: Journal | undefined
  readonly cluster: Cluster | undefined
  /** What the host wants to know of the cluster; set before it is joined. */
  clusterEvents: ClusterEvents | undefined = undefined
  readonly authenticationMethods: Map<string, AuthenticationMethod> = new Map<string, AuthenticationMethod>()
  readonly deniedPublish: BrokerServices['deniedPublish']
  readonly durability: BrokerServices['durability']
  readonly serverReference: string | undefined
  readonly reasonStrings: boolean
  readonly responseInformation: BrokerServices['responseInformation']
  revalidations = 0
  isClosing = false
  readonly #gate: DeliveryGate = (session, message, judged) => mayDeliver(this, session, message, judged)

  constructor (options: BrokerOptions) {
    this.limits = completeLimits(options.limits, defaultHighWaterMark())
    this.clock = options.clock ?? systemClock
    this.logger = options.logger ?? silentLogger
    this.deniedPublish = options.deniedPublish ?? 'acknowledge'
    this.durability = options.durability
    this.serverReference = options.serverReference
    this.reasonStrings = options.reasonStrings ?? true
    this.responseInformation = options.responseInformation
    this.hooks = new HookRunner(this.clock, this.logger, options.hookTimeoutMs ?? 5_000)
    this.pressure = new MemoryPressure(this.limits.memoryHighWaterMark, this.clock)
    this.journal = options.persistence === undefined ? undefined : new Journal(options.persistence, this)
    this.router = this.#newRouter(options)
    this.sessions = this.#newSessions()
    this.cluster = this.#newCluster(options)
  }

  dropped (target: DropTarget | undefined, message: Message, reason: DropReason): void {
    this.metrics.messagesDropped++
    if (this.hooks.chains.onDrop === undefined) return
    this.hooks.notify('onDrop', { message, reason, clientIdentifier: target?.clientIdentifier, client: target?.client })
  }

  keep (session: Session, isDurable: boolean): void {
    const { journal } = this
    if (journal === undefined) return
    if (session.number === 0) this.#begin(session, journal.newSession())
    session.keep(this.newLog(journal, session.number, isDurable))
  }

  #begin (session: Session, number: number): void {
    session.number = number
    this.cluster?.outbound.begin({ clientIdentifier: session.clientIdentifier, session: number })
  }

  /** The log of a Session of that number, which is new or was found in the store. */
  newLog (journal: Journal, number: number, isDurable: boolean, queue?: QueueState): SessionLog {
    const services: LogServices = { journal, shareOf: (topicFilter): Share | undefined => this.router.share(topicFilter) }
    return new SessionLog(services, number, isDurable, queue)
  }

  isRetained (message: Message): boolean {
    return this.router.retained.get(message.topicName) === message && message.expiresAt > this.clock.now()
  }

  #newRouter (options: BrokerOptions): Router {
    const { sharedSubscriptionStrategy } = options
    return new Router({
      limits: this.limits,
      sharedSubscriptionStrategy: sharedSubscriptionStrategy ?? 'roundRobin',
      deliveryGate: () => this.hooks.guardsDeliveries ? this.#gate : undefined,
      dropped: (target, message, reason) => { this.dropped(target, message, reason) },
      journal: this.journal,
    })
  }

  #newSessions (): Sessions {
    return new Sessions(this, {
      willDue: (session, will) => { publishWill(this, session, will) },
      ended: session => { this.#sessionEnded(session) },
    })
  }

  #newCluster ({ emitter, nodeName }: BrokerOptions): Cluster | undefined {
    if (emitter === undefined || this.journal === undefined) return undefined
    return new Cluster(this, this.journal, emitter, { name: nodeName ?? `${hostname()}:${process.pid}`, version }, {
      joined: node => { this.clusterEvents?.joined(node) },
      left: generation => { this.clusterEvents?.left(generation) },
    })
  }

  #sessionEnded (session: Session): void {
    this.router.removeSession(session)
    const { clientIdentifier, number } = session
    if (number !== 0) this.cluster?.outbound.release({ clientIdentifier, session: number })
    this.hooks.notify('sessionEnded', { clientIdentifier: session.clientIdentifier })
  }
}
