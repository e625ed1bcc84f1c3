import type { BrokerOptions, Limits, Logger } from '../../../lib/index.ts'
import type { Option } from '../options/kinds.ts'
import { brokerOptions, libraryName, limitOptions, type Settings } from '../options/start-options.ts'
import { connectionLog } from './connection-log.ts'

/** The settings of a table that were given, by the names of the library. */
function pick (settings: Settings, table: Readonly<Record<string, Option>>): object {
  const given = new Map<string, unknown>(Object.entries(settings))
  const rows = Object.entries(table).filter(([name]) => given.has(name))
  return Object.fromEntries(rows.map(([name, option]) => [libraryName(name, option), given.get(name)]))
}

/** What the broker is built with. */
export function brokerOptionsOf (settings: Settings, logger: Logger): BrokerOptions {
  const { logLevel } = settings
  const limits: Partial<Limits> = pick(settings, limitOptions)
  return {
    ...pick(settings, brokerOptions),
    limits,
    logger,
    // A line for each of 10,000 connections a second is not free: the hooks are there only for those who read it.
    hooks: logLevel === 'debug' ? connectionLog(logger) : {},
  }
}
