import { readFileSync, unlinkSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import { connect, createServer, isIPv6, type AddressInfo, type ListenOptions, type Server, type Socket } from 'node:net'
import { createSecureContext, createServer as createTlsServer, Server as TlsServer, type TlsOptions } from 'node:tls'
import type { Broker, Logger } from '../../../lib/index.ts'
import { failure, systemErrorCode, whyNotRead } from '../command-error.ts'
import type { Settings } from '../options/start-options.ts'
import { isAuthenticating, isLoopback } from '../options/settings.ts'

/** A server that listens. */
export interface Listener {
  /** As clients write it, with the real port. */
  readonly url: string
  /** Has TLS connections from now on made with what is in these; nothing for a listener without TLS. */
  renew (tls: TlsFiles): void
  /** Takes no more connections; the broker ends those it was given. */
  stop (): void
  /** Ends what is left: connections in a TLS handshake or an HTTP request. Resolves when nothing is open. */
  close (): Promise<void>
}

/** A server that is about to listen. */
interface Opening {
  readonly server: Server
  readonly where: ListenOptions
  /** `mqtt`, `mqtts`, `ws` or `wss`, or `mqtt+unix`. */
  readonly scheme: string
  readonly path: string
  /** The option that chose the port, for errors. */
  readonly flag: string
}

// The kernel cuts this to its own limit; Node's 511 is too few when a city's devices reconnect at once.
const backlog = 4096

const hasPort = (port: number | 'off' | undefined): port is number => port !== undefined && port !== 'off'

function readPem (flag: string, file: string | undefined): Buffer | undefined {
  if (file === undefined) return undefined
  try {
    return readFileSync(file)
  } catch (error) {
    throw failure(`${flag}: cannot read ${file}: ${whyNotRead(error)}`, error)
  }
}

/** What is in the files of `--tls-cert`, `--tls-key` and `--tls-ca`. */
export type TlsFiles = Required<Pick<TlsOptions, 'cert' | 'key' | 'ca'>>

function readTlsFiles (settings: Settings): TlsFiles {
  return {
    cert: readPem('--tls-cert', settings.tlsCert),
    key: readPem('--tls-key', settings.tlsKey),
    ca: readPem('--tls-ca', settings.tlsCa),
  }
}

/**
 * Reads the files of TLS anew.
 * @throws {CommandError} with exit code 1 when they cannot be used.
 */
export function renewedTls (settings: Settings): TlsFiles {
  return withCertificate(settings, files => {
    createSecureContext(files)
    return files
  })
}

function tlsOptions (settings: Settings): TlsOptions {
  return {
    // Whoever names authorities wants to see certificates, be it that they are needed or that a plugin looks at them.
    requestCert: settings.tlsCa !== undefined,
    rejectUnauthorized: settings.tlsRequireClientCertificate,
    handshakeTimeout: settings.connectTimeout ?? 10_000,
  }
}

/** OpenSSL would say neither which file it is, nor of what kind it should be. */
function checkPem (flag: string, file: string | undefined, pem: Buffer | undefined, begin: RegExp, kind: string): void {
  if (pem === undefined || begin.test(pem.toString('latin1'))) return
  throw failure(`${flag}: there is no ${kind} in ${file ?? ''}, PEM`)
}

function withCertificate<T> (settings: Settings, use: (files: TlsFiles) => T): T {
  const files = readTlsFiles(settings)
  checkPem('--tls-cert', settings.tlsCert, files.cert as Buffer | undefined, /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/, 'certificate')
  checkPem('--tls-key', settings.tlsKey, files.key as Buffer | undefined, /-----BEGIN (?:\w+ )*PRIVATE KEY-----/, 'private key')
  checkPem('--tls-ca', settings.tlsCa, files.ca as Buffer | undefined, /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/, 'certificate')
  try {
    return use(files)
  } catch (error) {
    throw failure(`--tls-cert, --tls-key or --tls-ca cannot be used: ${error instanceof Error ? error.message : String(error)}`, error)
  }
}

function plainOpenings (broker: Broker, settings: Settings): Opening[] {
  const { host, port, unix, proxyProtocol } = settings
  const serve = (name: string): Server => createServer({ noDelay: true }, broker.listener({ name, proxyProtocol }))
  return [
    ...hasPort(port) ? [{ server: serve('mqtt'), where: { host, port }, scheme: 'mqtt', path: '', flag: '--port' }] : [],
    ...unix === undefined ? [] : [{ server: serve('unix'), where: { path: unix }, scheme: 'mqtt+unix', path: '', flag: '--unix' }],
  ]
}

function tlsOpenings (broker: Broker, settings: Settings): Opening[] {
  const { host, tlsPort: port } = settings
  if (!hasPort(port)) return []
  const server = withCertificate(settings, files => createTlsServer({ noDelay: true, ...tlsOptions(settings), ...files }, broker.listener({ name: 'mqtts' })))
  return [{ server, where: { host, port }, scheme: 'mqtts', path: '', flag: '--tls-port' }]
}

/** What a browser sees that comes without a WebSocket. */
function answer (request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(426, { 'content-type': 'text/plain; charset=utf-8', connection: 'Upgrade', upgrade: 'websocket' })
  response.end('This is an MQTT broker: it speaks MQTT over WebSocket here.\n')
}

function isOfThisMachine (origin: string | undefined): boolean {
  if (origin === undefined) return true
  return URL.canParse(origin) && isLoopback(new URL(origin).hostname.replace(/^\[|\]$/g, ''))
}

/**
 * Which web pages may connect. A browser lets any page of the web open a WebSocket to this machine, so a broker that
 * asks for no password, because it listens on loopback only, must ask where the page is from.
 */
function allowedOrigins ({ wsOrigin }: Settings, current: () => Settings): readonly string[] | ((origin: string | undefined) => boolean) {
  if (wsOrigin !== undefined) return wsOrigin.includes('*') ? () => true : wsOrigin
  return origin => isAuthenticating(current()) || current().allowAnonymous || isOfThisMachine(origin)
}

function attach (broker: Broker, server: HttpServer | HttpsServer, listener: string, settings: Settings, current: () => Settings): void {
  broker.attach(server, { path: settings.wsPath, listener, origin: allowedOrigins(settings, current), trustProxy: settings.trustProxy > 0 && settings.trustProxy })
}

function webSocketOpenings (broker: Broker, settings: Settings, current: () => Settings): Opening[] {
  const { host, wsPort, wssPort, wsPath: path } = settings
  const openings: Opening[] = []
  if (hasPort(wsPort)) {
    const server = createHttpServer({ noDelay: true }, answer)
    attach(broker, server, 'ws', settings, current)
    openings.push({ server, where: { host, port: wsPort }, scheme: 'ws', path, flag: '--ws-port' })
  }
  if (hasPort(wssPort)) {
    const server = withCertificate(settings, files => createHttpsServer({ noDelay: true, ...tlsOptions(settings), ...files }, answer))
    attach(broker, server, 'wss', settings, current)
    openings.push({ server, where: { host, port: wssPort }, scheme: 'wss', path, flag: '--wss-port' })
  }
  return openings
}

function placeOf ({ where }: Opening): string {
  return where.path ?? `port ${where.port ?? ''} of ${where.host ?? ''}`
}

function describe (error: unknown, opening: Opening): string {
  const place = placeOf(opening)
  switch (systemErrorCode(error) ?? '') {
    case 'EADDRINUSE': return `${place} is in use: choose another one with ${opening.flag}`
    case 'EACCES': return `not allowed to listen at ${place}: choose another one with ${opening.flag}`
    case 'EADDRNOTAVAIL': case 'ENOTFOUND': case 'EAI_AGAIN': return `this machine has no address ${opening.where.host ?? ''}: choose another one with --host`
    default: return `cannot listen at ${place}: ${error instanceof Error ? error.message : String(error)}`
  }
}

/** A process that was killed leaves its Unix domain socket behind: nobody answers there, so it can go. */
async function removeStaleSocket (path: string): Promise<void> {
  const code = await new Promise<string | undefined>(resolve => {
    const socket = connect(path)
    socket.on('connect', () => { socket.destroy(); resolve(undefined) })
    socket.on('error', error => { resolve(systemErrorCode(error)) })
  })
  if (code === 'ECONNREFUSED') unlinkSync(path)
}

function listen (server: Server, where: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ backlog, ...where }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function urlOf ({ server, where, scheme, path }: Opening): string {
  if (where.path !== undefined) return `${scheme}://${where.path}`
  const { port } = server.address() as AddressInfo
  const { host = '' } = where
  return `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${port}${path}`
}

/** What the broker does not know of: connections that did not come through the TLS handshake, or that are HTTP. */
function endStrays (server: Server): () => void {
  if ('closeAllConnections' in server && !(server instanceof TlsServer)) return () => { (server as HttpServer).closeAllConnections() }
  if (!(server instanceof TlsServer)) return () => undefined
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return () => { for (const socket of sockets) socket.destroy() }
}

async function open (opening: Opening, logger: Logger): Promise<Listener> {
  const { server, where } = opening
  if (where.path !== undefined) await removeStaleSocket(where.path)
  await listen(server, where).catch((error: unknown) => { throw failure(describe(error, opening), error) })
  // Whatever goes wrong with one connection, or with accepting it, is no reason to stop.
  server.on('error', error => { logger.warn({ err: error, listener: opening.flag }, 'listener') })
  server.on('tlsClientError', (error: Error) => { logger.debug({ err: error, listener: opening.flag }, 'TLS handshake failed') })
  const end = endStrays(server)
  const closed = new Promise<void>(resolve => server.once('close', resolve))
  const renew = (files: TlsFiles): void => { if (server instanceof TlsServer) server.setSecureContext(files) }
  return { url: urlOf(opening), renew, stop: () => { server.close() }, close: () => { end(); return closed } }
}

/**
 * Opens every listener of the settings, or none.
 * @param current the settings in force, which change: who may connect decides which web pages may
 * @throws {CommandError} with exit code 1 when a port is taken or forbidden, or a certificate cannot be used.
 */
export async function openListeners (broker: Broker, settings: Settings, logger: Logger, current: () => Settings = () => settings): Promise<Listener[]> {
  const openings = [...plainOpenings(broker, settings), ...tlsOpenings(broker, settings), ...webSocketOpenings(broker, settings, current)]
  const listeners: Listener[] = []
  try {
    for (const opening of openings) listeners.push(await open(opening, logger))
    return listeners
  } catch (error) {
    for (const listener of listeners) listener.stop()
    await Promise.all(listeners.map(listener => listener.close()))
    throw error
  }
}
