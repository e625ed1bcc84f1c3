import { existsSync } from 'node:fs'
import { isIP } from 'node:net'
import { dirname } from 'node:path'
import { authenticates, pluginNames } from './access.ts'
import { defaultsOf, readArguments } from './arguments.ts'
import { usageError } from '../command-error.ts'
import type { Values } from './kinds.ts'
import { startOptions, type Settings, type StartOptions } from './start-options.ts'
import { withPeers } from '../peers.ts'

/** Whether only this machine can connect to a host. A name other than localhost may mean anything, so it does not count. */
export function isLoopback (host: string): boolean {
  if (isIP(host) === 4) return host.startsWith('127.')
  return host === 'localhost' || host === '::1' || host.startsWith('::ffff:127.')
}

// Beyond this the kernel's address has no room; Node then listens at a path that is cut off, without a word.
const maximumSocketPath = process.platform === 'linux' ? 107 : 103

function checkSocketPath (path: string | undefined): void {
  if (path === undefined) return
  if (!existsSync(dirname(path))) throw usageError(`--unix: there is no directory ${dirname(path)}`)
  if (Buffer.byteLength(path) > maximumSocketPath) throw usageError(`--unix: expected a path of at most ${maximumSocketPath} bytes, found ${Buffer.byteLength(path)}`)
}

function opensTls (settings: Settings): boolean {
  return settings.tlsPort !== undefined && settings.tlsPort !== 'off' || settings.wssPort !== undefined && settings.wssPort !== 'off'
}

/** Whether somebody asks who a client is. Rules about what it may do are no such question: a list of nothing else leaves the door open. */
export function asksWho ({ users = [], access = [] }: Pick<Settings, 'users' | 'access'>): boolean {
  return users.length > 0 || authenticates(access)
}

/** Whether each client shows who it is: by what users and plugins ask for, or by certificate where there is no way around TLS. */
export function isAuthenticating (settings: Settings): boolean {
  if (asksWho(settings)) return !settings.allowAnonymous
  return settings.tlsRequireClientCertificate && settings.port === 'off' && settings.wsPort === 'off'
}

/** The operating system would say it, too, once everything else is open. */
function checkPortsDiffer ({ port, wsPort, tlsPort, wssPort }: Settings): void {
  const ports = Object.entries({ '--port': port, '--ws-port': wsPort, '--tls-port': tlsPort, '--wss-port': wssPort }).filter(([, number]) => typeof number === 'number' && number > 0)
  for (const [flag, number] of ports) {
    const [other] = ports.find(([, another]) => another === number) ?? []
    if (other !== flag) throw usageError(`${other ?? ''} and ${flag} are both ${number ?? ''}: each needs a port of its own`)
  }
}

/** What would be left out in silence. */
function checkUsed ({ redis, redisPrefix, nodeName, tlsCert, tlsKey, tlsPort, wssPort }: Settings): void {
  if (redis === undefined && redisPrefix !== startOptions.redisPrefix.default) throw usageError('--redis-prefix needs --redis')
  if (redis === undefined && nodeName !== undefined) throw usageError('--node-name needs --redis')
  if ((tlsCert ?? tlsKey) !== undefined && (tlsPort ?? wssPort) === undefined) throw usageError('--tls-cert and --tls-key need --tls-port or --wss-port')
}

function checkListeners ({ port, wsPort, tlsPort = 'off', wssPort = 'off', unix }: Settings): void {
  if (unix !== undefined || [port, wsPort, tlsPort, wssPort].some(port => port !== 'off')) return
  throw usageError('nothing to listen on: every port is off')
}

function checkTls (settings: Settings): void {
  const { tlsCert, tlsKey, tlsCa } = settings
  if (opensTls(settings) && (tlsCert === undefined || tlsKey === undefined)) throw usageError('--tls-port and --wss-port need --tls-cert and --tls-key')
  if (settings.tlsRequireClientCertificate && tlsCa === undefined) throw usageError('--tls-require-client-certificate needs --tls-ca')
  // Without it Node trusts every authority that browsers do, and who gets a certificate there chooses the name.
  if (tlsCa === undefined && pluginNames(settings.access ?? []).includes('clientCertificate')) throw usageError('access: clientCertificate needs --tls-ca, "tlsCa" in the file')
}

function checkOrigin (origin: string): void {
  if (origin === '*' || (URL.canParse(origin) && new URL(origin).origin === origin)) return
  throw usageError(`--ws-origin: expected an origin such as https://example.org or "*", found "${origin}"`)
}

function checkPath (path: string): void {
  if (!/^\/[^?#\s]*$/.test(path)) throw usageError(`--ws-path: expected a path such as /mqtt, found "${path}"`)
}

// An open broker on the Internet is found within minutes: whoever wants one must say so.
function checkAccess (settings: Settings): void {
  if (isLoopback(settings.host) || settings.allowAnonymous || isAuthenticating(settings)) return
  throw usageError(`${settings.host} can be reached by others: give "users", or "access" with a plugin that authenticates, in a configuration file (--config), or let anyone in with --allow-anonymous`)
}

/**
 * Looks whether settings go together.
 * @throws {CommandError} with exit code 2 for the first that does not.
 */
export function check (settings: Settings): Settings {
  checkListeners(settings)
  checkPortsDiffer(settings)
  checkUsed(settings)
  checkSocketPath(settings.unix)
  checkTls(settings)
  for (const origin of settings.wsOrigin ?? []) checkOrigin(origin)
  checkPath(settings.wsPath)
  checkAccess(settings)
  return settings
}

async function readFile (path: string | undefined): Promise<Values<StartOptions>> {
  if (path === undefined) return {}
  const { readConfiguration } = await withPeers(() => import('./configuration.ts'))
  return readConfiguration(path)
}

/**
 * What `myelin start` was told: the command line over the configuration file over the defaults.
 * @throws {CommandError} with exit code 2 for anything that is wrong, before anything is opened.
 */
export async function readSettings (given: Values<StartOptions>): Promise<Settings> {
  return check({ ...defaultsOf(startOptions), ...await readFile(given.config), ...given } as Settings)
}

/** The options of `myelin start` as they stand on the command line. */
export function readStartArguments (args: readonly string[]): Values<StartOptions> {
  return readArguments(startOptions, args)
}
