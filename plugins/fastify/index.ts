import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { createBroker, optionInvalid, ReasonCode, type Broker, type BrokerOptions, type ConnectionInfo, type Plugin, type Verified, type VerifyResult, type WebSocketOptions } from '../../lib/index.ts'
import { routedTo } from './routed.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The broker of `app.register(myelin)`. */
    mqtt: Broker
  }
}

/** Where MQTT over WebSocket is, and whose. */
export interface MountOptions {
  /** Of the route, without parameters and wildcards; the prefix of the scope and of `register` comes before it. Default `/mqtt`. */
  path?: string
  /** As for any plugin of Fastify. */
  prefix?: string
  /** What the broker is called on the instance: `app.mqtt`. Give another one where an instance has several. Default `mqtt`. */
  name?: string
  /** As for `broker.attach`; looked at before the app's hooks are asked. */
  origin?: NonNullable<WebSocketOptions['origin']>
  /** As for `broker.attach`. */
  listener?: string
}

/** What a mount needs of a broker, whatever its `Data`. */
type MountedBroker = Pick<Broker, 'attach' | 'clients' | 'disconnect' | 'close'>

/** A broker that there is already, and that outlives the app; or what {@link createBroker} takes, for one of the app's own that logs through `app.log`. */
export type MyelinOptions = MountOptions & ({ broker: MountedBroker } | (BrokerOptions & { broker?: never, plugins?: readonly Plugin[] }))

/**
 * Puts a broker on a Fastify app: `await app.register(myelin, { path: '/mqtt' })` makes `app.mqtt`, and MQTT over WebSocket on the app's
 * server. An upgrade passes the app's hooks like any GET request, and what they reply is its answer; the request that came through is
 * `connection.identity` ({@link requestOf}). The broker is closed with the app, before the server is.
 * @throws MqttError for an option that is wrong; whatever {@link createBroker} throws
 */
export const myelin: FastifyPluginAsync<MyelinOptions> = async (app, options) => {
  const { path = '/mqtt', prefix = '', name = 'mqtt', origin, listener, broker: given, ...brokerOptions } = options
  const route = app.prefix + prefix + path
  if (!/^\/[^?#]*$/.test(route) || /[:*]/.test(path)) throw optionInvalid('path', 'a path that begins with "/", without parameters, wildcards and query', path)
  if (given !== undefined) checkNone(brokerOptions)
  const broker: MountedBroker = given ?? await createBroker({ logger: app.log, ...brokerOptions })
  const mount = new Mount(app, broker)
  app.addHook('preClose', async () => { await (given === undefined ? broker : mount).close() })
  if (!app.hasDecorator(name) || app.getDecorator<unknown>(name) !== broker) app.decorate(name, broker)
  await app.register(mount.route, { prefix: prefix + path })
  mount.open({ path: routedTo(app, route), ...origin !== undefined && { origin }, ...listener !== undefined && { listener } })
}

// What it decorates is for the whole app, as with fastify-plugin.
Object.assign(myelin, { [Symbol.for('skip-override')]: true, [Symbol.for('plugin-meta')]: { name: 'myelin', fastify: '5.x' } })

/** The Fastify request, with cookies, session and whatever hooks have put there, by which a connection came; undefined for others. */
export function requestOf ({ identity, request }: ConnectionInfo): FastifyRequest | undefined {
  const isFastify = request !== undefined && typeof identity === 'object' && identity !== null && 'raw' in identity && identity.raw === request
  return isFastify ? identity as FastifyRequest : undefined
}

/** One path of an app that leads to a broker. */
class Mount {
  readonly #app: FastifyInstance
  readonly #broker: MountedBroker
  /** Upgrades that the app's hooks are looking at. */
  readonly #asked = new WeakMap<IncomingMessage, (answer: Verified) => void>()
  readonly #sockets = new Set<Socket>()
  #detach: (() => void) | undefined = undefined

  constructor (app: FastifyInstance, broker: MountedBroker) {
    this.#app = app
    this.#broker = broker
  }

  /** The route, in a scope of its own: other plugins that put themselves before handlers are behind this one there. */
  readonly route = (scope: FastifyInstance): Promise<void> => new Promise(resolve => {
    scope.addHook('onRoute', route => { route.handler = this.#arrived })
    scope.route({ method: 'GET', url: '', exposeHeadRoute: false, handler: this.#arrived })
    resolve()
  })

  open (options: WebSocketOptions): void {
    this.#detach = this.#broker.attach(this.#app.server, { ...options, verify: request => this.#verify(request) })
  }

  /** Ends what came this way; the server waits for it. */
  close (): void {
    this.#detach?.()
    for (const { clientIdentifier, connection: { request } } of this.#broker.clients()) {
      if (request === undefined || !this.#sockets.delete(request.socket)) continue
      this.#broker.disconnect(clientIdentifier, ReasonCode.serverShuttingDown)
    }
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Sends the upgrade through the app. Its answer is the route's, or none: a hook has replied, and the socket is closed. */
  #verify (request: IncomingMessage): Promise<VerifyResult> {
    const { socket } = request
    this.#sockets.add(socket)
    return new Promise(resolve => {
      socket.once('close', () => { this.#sockets.delete(socket); resolve(false) })
      this.#asked.set(request, resolve)
      queueMicrotask(() => { this.#dispatch(request, socket) }) // after all who listen to the same upgrade
    })
  }

  #dispatch (request: IncomingMessage, socket: Socket): void {
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    if (!hasAssigned(response, socket)) return
    response.once('finish', () => { socket.destroySoon() })
    this.#app.routing(request, response)
  }

  /** Every hook has let the request through. */
  readonly #arrived = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    const answer = this.#asked.get(request.raw)
    if (answer === undefined) return reply.code(426).header('upgrade', 'websocket').send({ statusCode: 426, error: 'Upgrade Required', message: 'This is MQTT over WebSocket' })
    reply.hijack()
    reply.raw.detachSocket(request.raw.socket) // it is the WebSocket's now
    answer({ identity: request, remoteAddress: request.ip })
    return reply
  }
}

/** False where another plugin, as @fastify/websocket does, has sent the upgrade through the app already: Node lets only one. */
function hasAssigned (response: ServerResponse, socket: Socket): boolean {
  try {
    response.assignSocket(socket)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_HTTP_SOCKET_ASSIGNED') return false
    throw error
  }
}

function checkNone (options: object): void {
  for (const name of Object.keys(options)) throw optionInvalid(name, 'absent: the broker is given', 'an option of a broker')
}
