import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Server } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { checkNames, checkText, isObject } from '../../base/checks.ts'
import { optionInvalid } from '../../base/errors.ts'
import type { MaybePromise } from '../../contract/hooks.ts'

/** Lets an upgrade through, and says who came. */
export interface Verified {
  /** Told to every hook as `connection.identity`: a user, a session. Undefined or null, where types did not keep it out, refuses with 401: nobody was found. */
  readonly identity: object | string | number | bigint
  /** The Client's address, where the host knows it better than the socket and `trustProxy` do. */
  readonly remoteAddress?: string
}

/** Answers an upgrade with plain HTTP. */
export interface UpgradeRefusal {
  /** From 300 to 599. */
  readonly status: number
  /** For example `{ 'Retry-After': '60' }`. */
  readonly headers?: Readonly<Record<string, string>>
}

/** `true` or {@link Verified} lets in; `false` (403), a status from 300 to 599 or an {@link UpgradeRefusal} refuses. */
export type VerifyResult = boolean | number | Verified | UpgradeRefusal

/** What is asked of an upgrade, wherever it comes from. */
interface Conditions {
  /** Told to hooks as `connection.listener`. */
  listener?: string
  /**
   * Which web pages may connect, as the browser names them: `https://example.org`. One or several let in whoever sends no
   * Origin, which every browser does; a function decides all. Default: everybody.
   */
  origin?: string | readonly string[] | ((origin: string | undefined) => boolean)
  /**
   * Looks at the HTTP request before there is a WebSocket: cookies, headers, the query. Asked after `origin`. What it throws
   * refuses with 500, a promise that is later than `hookTimeoutMs` with 503. Default: everybody may come, and the hooks of the broker decide.
   */
  verify?: (request: IncomingMessage) => MaybePromise<VerifyResult>
  /**
   * Whether `X-Forwarded-For` tells the Client's address: the number of proxies in front, or true for the leftmost
   * entry, which is safe only behind a proxy that replaces the header. Default false.
   */
  trustProxy?: boolean | number
}

/** How a host offers MQTT over WebSocket (section 6). */
export interface WebSocketOptions extends Conditions {
  /**
   * The path of the URL, compared exactly and without its query; or a function that says of a path, as the Client wrote it, whether it is one: of several
   * brokers on a server that want the same, the one that was attached last gets it. Default `/mqtt`.
   */
  path?: string | ((path: string) => boolean)
}

/** How a host hands over an upgrade that it has routed itself. */
export interface UpgradeOptions extends Conditions {
  /** Told to every hook as `connection.identity`, for what the host has found out already; `verify` goes before it. */
  identity?: unknown
}

type AnyOptions = WebSocketOptions & UpgradeOptions
const common: readonly (keyof AnyOptions)[] = ['listener', 'origin', 'verify', 'trustProxy']
const ofAttach: readonly string[] = ['path', ...common]
const ofUpgrade: readonly string[] = ['identity', ...common]

/** @throws MqttError for a server of streams: it has no upgrades, so Clients would wait for ever */
export function checkHttpServer (server: EventEmitter): void {
  if (!isObject(server) || typeof (server as Partial<EventEmitter>).prependListener !== 'function') throw optionInvalid('server', 'a server of node:http, node:https or node:http2', server)
  const prototype: unknown = Object.getPrototypeOf(server)
  if (prototype === Server.prototype || prototype === TlsServer.prototype) throw optionInvalid('server', 'a server of node:http, node:https or node:http2; what net and tls accept goes to broker.handle', 'one of node:net or node:tls')
}

/** @throws MqttError that names the first option that is wrong */
export function checkWebSocketOptions (options: WebSocketOptions): void {
  check(options, ofAttach)
  const { path = '/mqtt' } = options
  const isRight = typeof path === 'function' || typeof path === 'string' && /^\/[^?#]*$/.test(path)
  if (!isRight) throw optionInvalid('path', 'a path that begins with "/" and has no query', path)
}

/** @throws MqttError that names the first option that is wrong */
export function checkUpgradeOptions (options: UpgradeOptions): void { check(options, ofUpgrade) }

/** A misspelt `origin` would let every page in. */
function check (options: AnyOptions, known: readonly string[]): void {
  checkNames(options, known)
  const { origin, verify, trustProxy, listener } = options
  checkText('listener', listener)
  if (typeof origin !== 'function') checkOrigins(origin)
  if (verify !== undefined && typeof verify !== 'function') throw optionInvalid('verify', 'a function', verify)
  if (trustProxy !== undefined && typeof trustProxy !== 'boolean' && !(Number.isInteger(trustProxy) && trustProxy >= 0)) {
    throw optionInvalid('trustProxy', 'a boolean or a number of proxies', trustProxy)
  }
}

function checkOrigins (origins: unknown = []): void {
  for (const origin of Array.isArray(origins) ? origins as unknown[] : [origins]) {
    if (!isOrigin(origin)) throw optionInvalid('origin', 'as a browser sends it, such as https://example.org', origin)
  }
}

/** No path, no capital letters, no port that goes without saying. Apps have schemes of their own, of which a URL knows no origin. */
function isOrigin (text: unknown): boolean {
  if (typeof text !== 'string' || !URL.canParse(text)) return text === 'null'
  const { origin } = new URL(text)
  return origin === text || (origin === 'null' && /^[a-z][a-z\d+.-]*:\/\/[^/?#]*$/.test(text))
}
