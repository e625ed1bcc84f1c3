import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { readFile } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import type { connectionOptions } from './options/client-options.ts'
import { CommandError, failure, systemErrorCode, usageError, whyNotRead } from './command-error.ts'
import type { Settled } from './options/kinds.ts'

/** What both clients are told about the connection. */
export type ConnectionSettings = Settled<typeof connectionOptions>

const schemes = ['mqtt:', 'mqtts:', 'ws:', 'wss:']

function urlOf ({ url, host, port }: ConnectionSettings): string {
  if (url !== undefined) return checkedUrl(url)
  const text = `mqtt://${host.includes(':') ? `[${host}]` : host}:${port}`
  if (URL.canParse(text) && !/[/?#@]/.test(host)) return text
  throw usageError(`--host: expected a name or an address, found "${host}"`)
}

function checkedUrl (text: string): string {
  if (URL.canParse(text) && schemes.includes(new URL(text).protocol) && new URL(text).hostname !== '') return text
  throw usageError(`--url: expected mqtt://, mqtts://, ws:// or wss:// with a host, found "${text}"`)
}

/**
 * Looks whether what was given goes together, before anything is read or opened.
 * @param given on the command line: a default contradicts nothing
 * @throws {CommandError} with exit code 2 that names the flags
 */
export function checkConnection (given: Partial<ConnectionSettings>): void {
  const { url, host, port, ca, insecure, username, password, protocolVersion } = given
  if (url !== undefined && (host ?? port) !== undefined) throw usageError('--url has the host and the port: leave --host and --port out')
  const isTls = url !== undefined && /^(?:mqtts|wss):/i.test(url)
  if (!isTls && (ca ?? insecure) !== undefined) throw usageError('--ca and --insecure are for TLS: they need --url with mqtts:// or wss://')
  if (password !== undefined && username === undefined && (protocolVersion ?? '5') !== '5') throw usageError('--password needs --username: MQTT 3.1 and 3.1.1 know no password without one')
}

const reasons: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'connection refused, is the broker running?'],
  ['ECONNRESET', 'the broker closed the connection'],
  ['ENOTFOUND', 'there is no such host'],
  ['ETIMEDOUT', 'no answer'],
])

/** An error of the client in a few words. */
export function reasonOf (error: unknown): string {
  const reason = reasons.get(systemErrorCode(error) ?? '')
  if (reason !== undefined) return reason
  // OpenSSL says it in a few words there; its message is a page of numbers.
  if (error instanceof Error && 'reason' in error) return String(error.reason)
  const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
  return line.replace(/^Connection refused: /, '') || 'no reason was given'
}

async function readAuthorities (file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined) return undefined
  try {
    return checkedAuthorities(file, await readFile(file))
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw failure(`--ca: cannot read ${file}: ${whyNotRead(error)}`, error)
  }
}

/** Found here, it is the file that is to blame, and not the broker. */
function checkedAuthorities (file: string, bytes: Buffer): Buffer {
  if (bytes.includes('-----BEGIN CERTIFICATE-----')) return bytes
  throw failure(`--ca: there is no certificate in ${file}, PEM`)
}

async function clientOptions (settings: ConnectionSettings): Promise<IClientOptions> {
  const { clientIdentifier, username, password, protocolVersion, insecure } = settings
  const ca = await readAuthorities(settings.ca)
  return {
    clientId: clientIdentifier ?? `myelin-${randomBytes(6).toString('hex')}`,
    protocolVersion: Number(protocolVersion) as 3 | 4 | 5,
    ...protocolVersion === '3' ? { protocolId: 'MQIsdp' } : {},
    ...username === undefined ? {} : { username },
    ...password === undefined ? {} : { password },
    ...ca === undefined ? {} : { ca },
    rejectUnauthorized: insecure !== true,
    // A command fails at once and says so; whoever runs it decides whether to try again.
    reconnectPeriod: 0,
  }
}

/**
 * Connects to the broker.
 * @throws {CommandError} with one line when it cannot.
 */
export async function connectClient (settings: ConnectionSettings): Promise<MqttClient> {
  const url = urlOf(settings)
  const options = await clientOptions(settings)
  try {
    return await connectAsync(url, options, false)
  } catch (error) {
    throw failure(`cannot connect to ${url}: ${reasonOf(error)}`, error)
  }
}

/** Rejects when the connection ends before `end` was called. */
export function connectionLost (client: MqttClient): Promise<never> {
  return new Promise((_resolve, reject) => {
    let told = ''
    client.on('error', error => { told ||= `: ${reasonOf(error)}` })
    client.on('disconnect', ({ reasonCode = 0, properties }) => { told ||= `: ${properties?.reasonString ?? `Reason Code 0x${reasonCode.toString(16)}`}` })
    client.on('close', () => { reject(failure(`the connection has ended${told}`)) })
  })
}
