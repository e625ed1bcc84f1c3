import type { MqttClient } from 'mqtt'
import { defaultsOf, readArguments } from './options/arguments.ts'
import { checkConnection, connectClient, connectionLost, reasonOf } from './client.ts'
import { connectionOptions, subscribeOptions, type SubscribeOptions } from './options/client-options.ts'
import { failure, usageError } from './command-error.ts'
import { helpText, type Help } from './options/help.ts'
import type { Settled } from './options/kinds.ts'
import type { Terminal } from './terminal.ts'

type SubscribeSettings = Settled<SubscribeOptions>

const table: SubscribeOptions = { ...subscribeOptions, ...connectionOptions }

/** Seconds; a longer timer of Node would fire at once. */
const longestTimeout = Math.floor((2 ** 31 - 1) / 1000)

/** The help of `myelin sub`. */
export const subscribeHelp: Help = {
  usage: ['myelin sub -t <topic filter> [-t <topic filter>]… [options]'],
  about: 'Prints the payload of each message, and a line break. Ends at Ctrl+C, or as -C and -W say; with -C it fails when the messages did not come in time.',
  groups: [{ title: 'Subscription', options: subscribeOptions }, { title: 'Connection', options: connectionOptions }],
}

async function subscribe (client: MqttClient, topicFilters: readonly string[], qos: 0 | 1 | 2): Promise<void> {
  try {
    await client.subscribeAsync([...topicFilters], { qos })
  } catch (error) {
    throw failure(`not subscribed to ${topicFilters.join(', ')}: ${reasonOf(error)}`, error)
  }
}

/** Prints messages; resolves after `count` of them, never without a count. */
function print (client: MqttClient, { verbose, count = Infinity }: SubscribeSettings, terminal: Terminal): Promise<void> {
  let left = count
  return new Promise(resolve => {
    client.on('message', (topicName, payload) => {
      if (left-- <= 0) return
      if (verbose === true) terminal.output.write(`${topicName} `)
      terminal.output.write(payload)
      terminal.output.write('\n')
      if (left === 0) resolve()
    })
  })
}

/** Resolves when the time is up, or rejects when messages were to be counted: they did not come. */
async function timeUp ({ timeout, count }: SubscribeSettings, signal: AbortSignal): Promise<void> {
  await new Promise<void>(resolve => {
    if (timeout === undefined) return
    const timer = setTimeout(resolve, timeout * 1000)
    signal.addEventListener('abort', () => { clearTimeout(timer) })
  })
  if (count !== undefined) throw failure(`not ${count} messages in ${timeout ?? 0} s`)
}

function interrupted ({ signals }: Terminal, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = (): void => { resolve() }
    signals.on('SIGINT', end)
    signals.on('SIGTERM', end)
    signal.addEventListener('abort', () => {
      signals.off('SIGINT', end)
      signals.off('SIGTERM', end)
    })
  })
}

async function untilDone (client: MqttClient, settings: SubscribeSettings, terminal: Terminal): Promise<void> {
  const ending = new AbortController()
  const { topic = [], qos } = settings
  try {
    // What is printed is there before the SUBSCRIBE: retained messages may come with the answer.
    const printed = print(client, settings, terminal)
    const lost = connectionLost(client)
    await Promise.race([subscribe(client, topic, Number(qos) as 0 | 1 | 2), lost])
    await Promise.race([printed, lost, timeUp(settings, ending.signal), interrupted(terminal, ending.signal)])
  } finally {
    ending.abort()
  }
}

async function follow (settings: SubscribeSettings, terminal: Terminal): Promise<void> {
  const client = await connectClient(settings)
  try {
    await untilDone(client, settings, terminal)
    await client.endAsync()
  } finally {
    client.end(true)
  }
}

/**
 * `myelin sub`: prints messages until it is told to end.
 * @throws {CommandError} when it was called wrongly, cannot connect, the broker refuses or ends the connection.
 */
export async function sub (args: readonly string[], terminal: Terminal): Promise<void> {
  const given = readArguments(table, args)
  if (given.help === true) { terminal.output.write(helpText(subscribeHelp)); return }
  if (given.topic === undefined) throw usageError('sub: -t <topic filter> is missing')
  checkConnection(given)
  if ((given.timeout ?? 0) > longestTimeout) throw usageError('--timeout: expected at most 24 days')
  await follow({ ...defaultsOf(table), ...given } as SubscribeSettings, terminal)
}
