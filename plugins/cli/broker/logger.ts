import { pino } from 'pino'
import { Writable } from 'node:stream'
import type { Logger } from '../../../lib/index.ts'
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
  const shown = [new Date(Number(time)).toISOString(), levelNames.get(level) ?? level, msg, ...shownDetails].join(' ')
  // A client's name must not start a line of its own, nor speak to the terminal.
  return shown.replace(/\p{Cc}/gu, ' ') + '\n'
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
