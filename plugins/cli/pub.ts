import type { MqttClient } from 'mqtt'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { defaultsOf, readArguments } from './options/arguments.ts'
import { checkConnection, connectClient, connectionLost, reasonOf } from './client.ts'
import { connectionOptions, publishOptions, type PublishOptions } from './options/client-options.ts'
import { CommandError, failure, usageError, whyNotRead } from './command-error.ts'
import { helpText, type Help } from './options/help.ts'
import type { Settled } from './options/kinds.ts'
import type { Terminal } from './terminal.ts'

type PublishSettings = Settled<PublishOptions>

const table: PublishOptions = { ...publishOptions, ...connectionOptions }

/** The help of `myelin pub`. */
export const publishHelp: Help = {
  usage: ['myelin pub -t <topic> (-m <payload> | -l | -f <file>) [options]'],
  about: 'Publishes a message, or one for each line of standard input.',
  groups: [{ title: 'Message', options: publishOptions }, { title: 'Connection', options: connectionOptions }],
}

/** Beyond this no packet can have it, whatever the broker allows (section 2.1.4). */
const longestPacket = 268_435_455

function checkedPayload (file: string, payload: Buffer): Buffer {
  if (payload.length < longestPacket - 65_537) return payload
  throw failure(`--file: ${file} has ${payload.length} bytes, more than an MQTT packet can have`)
}

async function readPayload (file: string): Promise<Buffer> {
  try {
    return checkedPayload(file, await readFile(file))
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw failure(`--file: cannot read ${file}: ${whyNotRead(error)}`, error)
  }
}

/** What is to be sent; undefined stands for the lines of the input. */
async function payloadOf ({ message, file, lines }: PublishSettings): Promise<string | Buffer | undefined> {
  if ([message, file, lines].filter(given => given !== undefined).length !== 1) throw usageError('pub: give one of -m <payload>, -l (lines of standard input) and -f <file>')
  return file === undefined ? message : readPayload(file)
}

type Publish = (payload: string | Buffer) => Promise<void>

function publisher (client: MqttClient, topic: string, { qos, retain }: PublishSettings): Publish {
  return async payload => {
    try {
      await client.publishAsync(topic, payload, { qos: Number(qos) as 0 | 1 | 2, retain: retain === true })
    } catch (error) {
      throw failure(`not published to ${topic}: ${reasonOf(error)}`, error)
    }
  }
}

/** One after the other, each when the one before has arrived: their order is kept. */
async function publishLines (publish: Publish, terminal: Terminal): Promise<void> {
  for await (const line of createInterface({ input: terminal.input })) await publish(line)
}

async function send (settings: PublishSettings, topic: string, payload: string | Buffer | undefined, terminal: Terminal): Promise<void> {
  const client = await connectClient(settings)
  try {
    const publish = publisher(client, topic, settings)
    const published = payload === undefined ? publishLines(publish, terminal) : publish(payload)
    await Promise.race([published, connectionLost(client)])
    await client.endAsync()
  } finally {
    client.end(true)
    // Otherwise a terminal that nobody types at would keep a command alive that has failed.
    if (payload === undefined) terminal.input.destroy()
  }
}

/**
 * `myelin pub`: resolves when the broker has the messages, as far as their QoS tells.
 * @throws {CommandError} when it was called wrongly, cannot connect or the broker refuses.
 */
export async function pub (args: readonly string[], terminal: Terminal): Promise<void> {
  const given = readArguments(table, args)
  if (given.help === true) { terminal.output.write(helpText(publishHelp)); return }
  const settings = { ...defaultsOf(table), ...given } as PublishSettings
  if (settings.topic === undefined) throw usageError('pub: -t <topic> is missing')
  checkConnection(given)
  await send(settings, settings.topic, await payloadOf(settings), terminal)
}
