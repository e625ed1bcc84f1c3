import { createBroker, ErrorCode, MqttError, systemClock, version, type Broker, type BrokerOptions, type Logger, type Plugin } from '../../../lib/index.ts'
import { Access } from './access.ts'
import { banner, withoutPassword } from './banner.ts'
import { brokerOptionsOf } from './broker-options.ts'
import { failure, usageError } from '../command-error.ts'
import { dataStore, redisStore, storeFailure } from '../data.ts'
import { flagName } from '../options/arguments.ts'
import { helpText, type Help } from '../options/help.ts'
import type { Values } from '../options/kinds.ts'
import { openListeners, type Listener } from './listeners.ts'
import { Reloader, type Reloadable } from './reload.ts'
import { letSmallHeapGrow } from './small-heap.ts'
import { startGroups, type Settings, type StartOptions } from '../options/start-options.ts'
import { withPeers } from '../peers.ts'
import { readSettings, readStartArguments } from '../options/settings.ts'
import type { Terminal } from '../terminal.ts'

/** The help of `myelin` and `myelin start`. */
export const startHelp: Help = {
  usage: [
    'myelin [start] [options]              run the broker',
    'myelin pub -t <topic> -m <payload>    publish a message',
    'myelin sub -t <topic filter>          print messages',
    'myelin inspect <directory>            list what a broker has kept, running or not',
    'myelin passwd <file> <username>       write a file of users and passwords',
    'myelin hash-password                  make a passwordHash of the password on standard input',
    'myelin config-schema                  print the JSON Schema of the configuration file',
    'myelin <command> --help',
  ],
  about: 'Without options the broker listens on this machine only: MQTT at 127.0.0.1:1883, MQTT over WebSocket at ws://127.0.0.1:8080/mqtt. What it has to keep is in ./data.',
  groups: startGroups,
  notes: [
    'Sizes are bytes or have a unit: 65536, 64KiB, 1MiB, 1GiB. Durations have a unit: 500ms, 10s, 5m, 1h; without one <duration> is in milliseconds and <seconds> in seconds. --no-<flag> turns off a flag of the configuration file.',
    'In the configuration file each option has the same name in camelCase: { "port": 1884, "maximumPacketSize": "256KiB" }.',
    'Exit codes: 0 stopped by a signal, 1 could not start, 2 wrong options or configuration.',
  ],
}

/** The library names its option, the command line has a flag for it. */
function withFlag (message: string): string {
  return message.replace(/^option "(?:limits\.)?(\w+?)(?:Ms)?"/, (_, name: string) => `--${flagName(name)}`)
}

async function buildBroker (options: BrokerOptions, access: Plugin): Promise<Broker> {
  try {
    return await createBroker({ ...options, plugins: [access] })
  } catch (error) {
    if (error instanceof MqttError && error.code === ErrorCode.optionInvalid) throw usageError(withFlag(error.message))
    if (error instanceof MqttError && error.code === ErrorCode.fileInvalid) throw failure(error.message, error)
    throw storeFailure(error)
  }
}

/** The store, and what makes this process one of several, where that is wanted. */
async function keptIn ({ data, durability, redis, redisPrefix, nodeName }: Settings): Promise<Pick<BrokerOptions, 'persistence' | 'emitter' | 'nodeName'>> {
  if (redis !== undefined) return { ...await redisStore(redis, redisPrefix), ...(nodeName !== undefined && { nodeName }) }
  if (data === 'off') return {}
  return { persistence: await dataStore({ path: data, durability }, ', or keep everything in memory with --data off') }
}

interface Running extends Reloadable {
  readonly broker: Broker
}

async function stop ({ broker, listeners }: Running): Promise<void> {
  for (const listener of listeners) listener.stop()
  try {
    await broker.close()
  } catch (error) {
    throw storeFailure(error)
  } finally {
    await Promise.all(listeners.map(listener => listener.close()))
  }
}

async function run (reloader: Reloader, terminal: Terminal): Promise<Running> {
  const { settings } = reloader
  const { createLogger } = await withPeers(() => import('./logger.ts'))
  const logger = createLogger(settings, terminal.error)
  const access = new Access()
  const list = await access.build(settings)
  const broker = await buildBroker({ ...brokerOptionsOf(settings, logger), ...await keptIn(settings) }, access.plugin(list))
  const listeners = await listen(broker, reloader, logger, terminal)
  return { broker, listeners, access, logger }
}

/** A broker that nobody can reach is closed again. */
async function listen (broker: Broker, reloader: Reloader, logger: Logger, terminal: Terminal): Promise<readonly Listener[]> {
  try {
    const listeners = await openListeners(broker, reloader.settings, logger, () => reloader.settings)
    announce(listeners.map(({ url }) => url), reloader.settings, logger, terminal)
    return listeners
  } catch (error) {
    await broker.close()
    throw error
  }
}

function announce (urls: readonly string[], settings: Settings, logger: Logger, terminal: Terminal): void {
  const { logFormat, redis, data } = settings
  if (logFormat === 'json') logger.info({ version, listeners: urls, ...(redis === undefined ? { data } : { redis: withoutPassword(redis) }) }, 'listening')
  if (logFormat === 'pretty') terminal.output.write(banner(version, urls, settings))
}

const signals = [['SIGINT', 2], ['SIGTERM', 15]] as const

/** Resolves at the first signal; a second one ends the process at once, with the exit code that shells use for it. */
function firstSignal (terminal: Terminal): Promise<void> {
  return new Promise(resolve => {
    let isSecond = false
    for (const [signal, number] of signals) {
      terminal.signals.on(signal, () => {
        if (isSecond) terminal.exit(128 + number)
        isSecond = true
        resolve()
      })
    }
  })
}

/**
 * `myelin start`: runs the broker until SIGINT or SIGTERM; SIGHUP has it read its configuration file anew.
 * @throws {CommandError} when it cannot start.
 */
export async function start (args: readonly string[], terminal: Terminal): Promise<void> {
  const given = readStartArguments(args)
  if (given.help === true) { terminal.output.write(helpText(startHelp)); return }
  if (given.version === true) { terminal.output.write(`${version}\n`); return }
  await runUntilStopped(given, terminal)
}

async function runUntilStopped (given: Values<StartOptions>, terminal: Terminal): Promise<void> {
  const stopped = firstSignal(terminal)
  const reloader = new Reloader(await readSettings(given), given)
  const running = run(reloader, terminal)
  // A process that has no file to read anew ends with its terminal, as others do.
  if (given.config !== undefined || given.tlsCert !== undefined) terminal.signals.on('SIGHUP', () => { reloader.request(running) })
  await running
  const leaveHeap = letSmallHeapGrow(systemClock)
  await stopped
  leaveHeap()
  await reloader.stop()
  await stop(await running)
}
