import { pino } from 'pino'
import { Writable } from 'node:stream'
import { reasonCodeName, type ClientInfo, type ConnectionInfo, type Hooks, type Logger } from '../../../lib/index.ts'
import type { Settings } from '../options/start-options.ts'

const levelNames: ReadonlyMap<unknown, string> = new Map([[20, 'debug'], [30, 'info '], [40, 'warn '], [50, 'error']])

/** `name=value`; of an error its message. Whatever could pass for something else is quoted, for clients choose their names. */
function showDetail (name: string, value: unknown): string {
  const shown: unknown = name === 'err' && typeof value === 'object' && value !== null ? Reflect.get(value, 'message') : value
  return `${name}=${typeof shown === 'string' && /^[\w.:/+$#-]+$/.test(shown) ? shown : JSON.stringify(shown)}`
}

/** Makes a line for people of a line of pino. */
export function prettyLine (line: string): string {
  const { level, time, msg, ...details } = JSON.parse(line) as Record<string, unknown>
  const shownDetails = Object.entries(details).map(([name, value]) => showDetail(name, value))
  return [new Date(Number(time)).toISOString(), levelNames.get(level) ?? level, msg, ...shownDetails].join(' ') + '\n'
}

function prettyStream (output: Writable): Writable {
  return new Writable({
    decodeStrings: false,
    write (line: string, _encoding, done) {
      output.write(prettyLine(line))
      done()
    },
  })
}

/** The log of the command line: pino's JSON, or lines for people. */
export function createLogger ({ logFormat, logLevel }: Pick<Settings, 'logFormat' | 'logLevel'>, output: Writable): Logger {
  const level = logFormat === 'quiet' ? 'error' : logLevel
  return pino({ level, base: null }, logFormat === 'json' ? output : prettyStream(output))
}

function aboutConnection ({ id, remoteAddress, remotePort, listener }: ConnectionInfo): object {
  return { connection: id, address: remoteAddress, port: remotePort, listener }
}

function aboutClient ({ clientIdentifier, username, connection }: ClientInfo): object {
  return { clientIdentifier, username, ...aboutConnection(connection) }
}

/** A line for each connection that begins or ends. */
export function connectionLog (logger: Logger): Pick<Hooks, 'connected' | 'disconnected' | 'refused'> {
  return {
    connected: ({ client, sessionPresent }) => {
      logger.debug({ ...aboutClient(client), protocolVersion: client.protocolVersion, sessionPresent }, 'connected')
    },
    disconnected: ({ client, reasonCode, error }) => {
      logger.debug({ ...aboutClient(client), reason: reasonCodeName(reasonCode), ...(error && { code: error.code, detail: error.message }) }, 'disconnected')
    },
    refused: ({ connection, error }) => {
      logger.debug({ ...aboutConnection(connection), reason: reasonCodeName(error.reasonCode), code: error.code, detail: error.message }, 'refused')
    },
  }
}
