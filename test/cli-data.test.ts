import t, { type Test } from 'tap'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { IClientOptions } from 'mqtt'
import { Message } from '../lib/contract/message.ts'
import type { Changes, DeliveryRecord, SessionRecord, Subscription } from '../lib/index.ts'
import { Topic } from '../lib/topic/topic.ts'
import { duration, harmless, preview, printable, size } from '../plugins/cli/inspect/format.ts'
import { lmdbPersistence } from '../plugins/lmdb/index.ts'
import { Call, complaint, isolated } from './support/command-line.ts'
import { dial } from './support/network/network.ts'
import { root } from './support/program.ts'

t.setTimeout(120_000) // processes take their time on a busy machine

const main = join(root, 'dist/plugins/cli/main.js')
const freePorts = ['--host', '127.0.0.1', '--port', '0', '--ws-port', '0']

interface Started { readonly child: ChildProcess, readonly url: string, readonly banner: string }

/** The built command, called in a folder, once it listens. */
async function started (t: Test, cwd: string, ...args: string[]): Promise<Started> {
  const child = spawn(process.execPath, [main, ...freePorts, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  child.stderr.on('data', (chunk: Buffer) => { t.comment(chunk.toString()) })
  let banner = ''
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    banner += String(chunk)
    if (banner.includes('Ctrl+C')) break
  }
  return { child, banner, url: /mqtt:\/\/127\.0\.0\.1:\d+/.exec(banner)?.[0] ?? '' }
}

async function ended ({ child }: Started, signal: NodeJS.Signals): Promise<unknown[]> {
  const exit = once(child, 'exit')
  child.kill(signal)
  return exit
}

const persistent: ReadonlyMap<number, IClientOptions> = new Map([
  [4, { protocolVersion: 4, clean: false }], [5, { protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3600 } }],
])

for (const [version, signal] of [[4, 'SIGTERM'], [5, 'SIGKILL']] as const) {
  t.test(`a retained message and a queue survive ${signal} (${version === 4 ? '3.1.1' : '5.0'})`, async t => {
    const cwd = t.testdir({})
    const subscriber: IClientOptions = { clientId: 'subscriber', ...persistent.get(version) }
    const first = await started(t, cwd)
    const before = await dial(t, first.url, subscriber)
    await before.mqtt.subscribeAsync('queue/#', { qos: 2 })
    await before.mqtt.endAsync()
    const publisher = await dial(t, first.url, { protocolVersion: version })
    for (const [payload, qos] of [['one', 1], ['two', 1], ['three', 2]] as const) await publisher.mqtt.publishAsync('queue/a', payload, { qos })
    await publisher.mqtt.publishAsync('kept', 'retained', { qos: 1, retain: true })
    t.same(await ended(first, signal), signal === 'SIGTERM' ? [0, null] : [null, signal])
    const second = await started(t, cwd)
    const after = await dial(t, second.url, subscriber)
    t.equal(after.connack?.sessionPresent, true)
    t.same(await after.texts(3), ['one', 'two', 'three'])
    await after.mqtt.subscribeAsync('kept')
    t.match(await after.message(), { topic: 'kept', payload: Buffer.from('retained'), retain: true })
    await after.mqtt.endAsync()
    t.same(await ended(second, 'SIGTERM'), [0, null])
  })
}

t.test('the banner says where data is kept; a directory that another broker has is refused in one line', async t => {
  const cwd = t.testdir({})
  const broker = await started(t, cwd, '--data', 'here', '--durability', 'process')
  t.match(broker.banner, `\nSessions and messages are kept in ${join(cwd, 'here')}; they survive the process, not a power cut.\n`)
  const [code, text] = await complaint('--port', '0', '--ws-port', '0', '--data', join(cwd, 'here'))
  t.equal(code, 1)
  t.match(text, /^myelin: .*here.*\n$/)
  t.equal(text.split('\n').length, 2, 'no stack trace')
  t.same(await ended(broker, 'SIGTERM'), [0, null])
})

t.test('--data off keeps nothing', async t => {
  const cwd = t.testdir({})
  const broker = await started(t, cwd, '--data', 'off')
  t.match(broker.banner, '\nSessions and messages are kept in memory only (--data off).\n')
  const client = await dial(t, broker.url)
  await client.mqtt.publishAsync('kept', 'x', { qos: 1, retain: true })
  await client.mqtt.endAsync()
  await ended(broker, 'SIGTERM')
  t.same(readdirSync(cwd), [])
  t.notOk(existsSync(join(root, 'off')))
})

t.test('a directory that cannot be written is told in one line, exit code 1', async t => {
  const cwd = t.testdir({ file: 'x' })
  const [code, text] = await complaint(...isolated, '--data', join(cwd, 'file', 'data'))
  t.equal(code, 1)
  t.match(text, /^myelin: .+\n$/)
  t.equal(text.split('\n').length, 2, 'no stack trace')
})

const hostile = '\u001b[2Jclient\n\u202e'
const now = Date.now()

function session (clientIdentifier: string, fields: Partial<SessionRecord> = {}): SessionRecord {
  return { clientIdentifier, sessionExpiryInterval: 3600, isConnected: false, expiresAt: now + 1_800_000, ...fields }
}

function subscription (topicFilter: string, fields: Partial<Subscription> = {}): Subscription {
  return { topicFilter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0, ...fields }
}

function message (topicName: string, payload: string | Buffer, expiresAt = Infinity): Message {
  return new Message({ payload: Buffer.from(payload), qos: 1, retain: false, properties: undefined }, new Topic(topicName), 'publisher', expiresAt)
}

function delivery (position: number, message: Message, fields: Partial<DeliveryRecord> = {}): DeliveryRecord {
  return {
    session: 1, position, message, qos: 1, retain: false, subscriptionIdentifiers: [], sharedFilter: undefined, total: position * 300,
    packetIdentifier: 0, isReleased: false, reference: 0, ...fields,
  }
}

const will = { topicName: 'status/sensor', qos: 1, retain: true, payload: Buffer.from('gone').toString('base64'), delayInterval: 60 } as const
const binary = Buffer.from([0xff, 0x00, 0x01])
const waiting = Array.from({ length: 30 }, (_, index) => message(`readings/${index}`, `${index}`))

/** Two Sessions with all that one can have, one that ends, and two retained messages. */
const changes: Changes = {
  sessions: new Map([
    [1, session('sensor', { will, willDueAt: now + 60_000 })],
    [2, session(hostile, { isConnected: true, sessionExpiryInterval: 0xffffffff })],
    [3, session('former', { hasEnded: true })],
  ]),
  subscriptions: [
    { session: 1, topicFilter: 'readings/#', subscription: subscription('readings/#') },
    { session: 1, topicFilter: '$share/workers/jobs', subscription: subscription('$share/workers/jobs', { qos: 2, noLocal: true, retainAsPublished: true, retainHandling: 2, subscriptionIdentifier: 7 }) },
    { session: 2, topicFilter: 'a b', subscription: subscription('a b') },
  ],
  enqueued: [
    { message: message('commands/a', binary, now + 3_600_000), qos: 2 as const },
    ...waiting.map(message => ({ message, qos: 1 as const })),
  ].map(({ message, qos }, index) => ({
    message, deliveries: [delivery(index + 1, message, index === 0 ? { qos, packetIdentifier: 5, isReleased: true, retain: true, subscriptionIdentifiers: [7] } : {})],
  })),
  sent: [],
  removed: [],
  received: [{ session: 1, packetIdentifier: 9, isInUse: true }],
  retained: new Map([['house/lamp', message('house/lamp', 'on\u009b')], [hostile, message(hostile, binary)]]),
  aliveAt: now,
}

/** A directory with those. */
async function filled (t: Test): Promise<string> {
  const path = join(t.testdir({}), 'data')
  const store = lmdbPersistence({ path, durability: 'process' })
  await store.open()
  await store.commit(changes)
  await store.close()
  return path
}

async function inspected (...args: string[]): Promise<string> {
  const call = new Call('inspect', ...args)
  const code = await call.ended
  return code === 0 ? call.printed : `${code}: ${call.complained}`
}

const harmful = /[\0-\x09\x0b-\x1f\x7f-\x9f\u202e]/

t.test('myelin inspect lists sessions, with names that cannot speak to the terminal', async t => {
  const text = await inspected(await filled(t))
  t.match(text, /^The broker was last known to run at 20\d\d-.*Z\.\n\nSTATE +EXPIRES IN +WILL IN +SUBSCRIPTIONS +IN FLIGHT +WAITING +BYTES +CLIENT IDENTIFIER\n/)
  t.match(text, /\naway +(30m|29m \d+s) +(1m|\d+s|now) +2 +1 +30 +[\d.]+ KiB +sensor\n/)
  t.match(text, /\nconnected +never +- +1 +0 +0 +0 B +"\\u001b\[2Jclient\\n\\u202e"\n/)
  t.match(text, /\nended +now +- +0 +0 +0 +0 B +former\n/)
  t.match(text, /\n\n3 sessions, 3 subscriptions, 30 messages wait \([\d.]+ KiB\)\.\n$/)
  t.notMatch(text, harmful)
})

t.test('myelin inspect --session shows its subscriptions and the beginning of its queue', async t => {
  const path = await filled(t)
  const text = await inspected(path, '--session', 'sensor')
  t.match(text, /^Session 1 of sensor: away, expires: /)
  t.match(text, /\nWill: status\/sensor, QoS 1, retained, in .+: "gone"\n/)
  t.match(text, /by Packet Identifier: 9\n/)
  t.match(text, '\n  QoS 2  $share/workers/jobs  (no local, retain as published, retain handling 2, identifier 7)\n')
  t.match(text, '\n  QoS 1  readings/#\n')
  t.match(text, /\n +1 +5 released +2 +yes +3 B +(1h|59m \d+s) +commands\/a\n +2 +- +1 +- +1 B +never +readings\/0\n/)
  t.match(text, /readings\/18\n {2}… and 11 more: --limit 31 shows them\n$/, '20 of them')
  t.match(await inspected(path, '--session', 'sensor', '--limit', '31'), /readings\/29\n$/)
  t.match(await inspected(path, '--session', 'sensor', '--limit', '0'), / wait \([\d.]+ KiB\)\n$/)
  t.match(await inspected(path, '--session', hostile), /^Session 2 of "\\u001b.*: connected, expires: never\n/)
  t.equal(await inspected(path, '--session', '\u001b'), `1: myelin: there is no session of "\\u001b" in ${path}\n`)
})

t.test('myelin inspect --retained lists retained messages with the beginning of their payloads', async t => {
  const path = await filled(t)
  const text = await inspected(path, '--retained')
  t.match(text, /\n +3 B +1 +never +"\\u001b\[2Jclient\\n\\u202e" {2}0xff0001\n/)
  t.match(text, /\n +4 B +1 +never +house\/lamp {2}"on\\u009b"\n/)
  t.notMatch(text, harmful)
  t.equal((await inspected(path, '--retained', '--limit', '1')).trimEnd().split('\n').length, 4)
  t.match(await inspected(path, '--retained', '--session', 'sensor'), /^2: myelin: inspect: give one of/)
})

t.test('myelin inspect --json prints everything, an object a line, the same each time', async t => {
  const path = await filled(t)
  const text = await inspected(path, '--json')
  t.notMatch(text, harmful)
  t.equal(await inspected(path, '--json'), text)
  const lines = text.trimEnd().split('\n').map(line => JSON.parse(line) as Record<string, unknown>)
  const count = (type: string): number => lines.filter(line => line['type'] === type).length
  t.same(['store', 'session', 'subscription', 'message', 'retained'].map(count), [1, 3, 3, 31, 2])
  t.match(lines[0], { type: 'store', aliveAt: new Date(now).toISOString() })
  t.match(lines.find(line => line['clientIdentifier'] === 'sensor'), {
    type: 'session', session: 1, isConnected: false, subscriptions: 2, inFlight: 1, waiting: 30, received: [9], will, expiresAt: new Date(now + 1_800_000).toISOString(),
  })
  t.match(lines.find(line => line['topicName'] === 'commands/a'), {
    type: 'message', clientIdentifier: 'sensor', position: 1, packetIdentifier: 5, isReleased: true, qos: 2, retain: true, subscriptionIdentifiers: [7],
    payloadBase64: binary.toString('base64'), size: 3, publisher: 'publisher',
  })
  t.match(lines.find(line => line['topicName'] === hostile), { type: 'retained', size: 3 }, 'names come back as they were')
  t.ok(lines.every(line => Object.keys(line).join() === Object.keys(line).sort().join()))
  const ofOne = await inspected(path, '--json', '--session', 'sensor', '--limit', '2')
  t.same(ofOne.trimEnd().split('\n').map(line => (JSON.parse(line) as { type: string }).type), ['session', 'subscription', 'subscription', 'message', 'message'])
  t.equal((await inspected(path, '--json', '--retained')).trimEnd().split('\n').length, 2)
})

t.test('myelin inspect looks into the store of a broker that runs', async t => {
  const cwd = t.testdir({})
  const broker = await started(t, cwd)
  const client = await dial(t, broker.url, { clientId: 'here', protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3600 } })
  await client.mqtt.subscribeAsync('a', { qos: 1 })
  await client.mqtt.publishAsync('kept', 'x', { qos: 1, retain: true })
  t.match(await inspected(join(cwd, 'data')), /\nconnected +1h once away +- +1 +0 +0 +0 B +here\n/)
  t.match(await inspected(join(cwd, 'data'), '--retained'), /kept {2}"x"\n$/)
  await client.mqtt.endAsync()
  t.same(await ended(broker, 'SIGTERM'), [0, null])
})

t.test('myelin inspect says what is wrong in one line, exit code 1', async t => {
  const folder = t.testdir({ empty: {}, file: 'x', other: { 'notes.txt': 'x' }, broken: { 'data.mdb': 'x'.repeat(10_000) } })
  t.equal(await inspected(join(folder, 'none')), `1: myelin: cannot inspect ${join(folder, 'none')}: there is no such directory\n`)
  t.equal(await inspected(join(folder, 'file')), `1: myelin: cannot inspect ${join(folder, 'file')}: that is no directory\n`)
  t.equal(await inspected(join(folder, 'empty')), `1: myelin: cannot inspect ${join(folder, 'empty')}: it is empty, no broker has kept anything there\n`)
  for (const name of ['other', 'broken']) t.match(await inspected(join(folder, name)), /^1: myelin: .+\n$/, name)
  t.same(readdirSync(join(folder, 'other')), ['notes.txt'], 'nothing is made')
  t.equal(await inspected(), '2: myelin: inspect: the directory is missing, such as ./data\n')
  t.equal(await inspected('a', 'b'), '2: myelin: unexpected argument "b"\n')
  t.match(await inspected('--help'), /^Usage: myelin inspect <directory>/)
})

t.test('what inspect prints is short and harmless', t => {
  for (const [milliseconds, text] of [[-5, 'now'], [0, 'now'], [1, '1s'], [61_000, '1m 1s'], [3_600_000, '1h'], [3_605_000, '1h'], [90_000_000, '1d 1h']] as const) t.equal(duration(milliseconds), text)
  for (const [bytes, text] of [[0, '0 B'], [1023, '1023 B'], [1536, '1.5 KiB'], [5 * 2 ** 30, '5.0 GiB']] as const) t.equal(size(bytes), text)
  t.equal(printable('home/+/temperature-1.0'), 'home/+/temperature-1.0')
  t.equal(printable(''), '""')
  t.equal(printable('a "b"'), '"a \\"b\\""')
  t.equal(harmless('"\u{e0041}\u009b"'), '"\\udb40\\udc41\\u009b"')
  t.equal(preview(Buffer.from('ä'.repeat(61))), `"${'ä'.repeat(60)}"…`)
  t.equal(preview(Buffer.from('😀'.repeat(60))), `"${'😀'.repeat(60)}"`)
  t.equal(preview(Buffer.alloc(31, 0xff)), `0x${'ff'.repeat(30)}…`)
  t.end()
})
