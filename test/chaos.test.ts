import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { campaign } from './chaos/campaign.ts'
import { censusFaults, remains, type Census } from './chaos/census.ts'
import { RedisProxy } from './chaos/redis-proxy.ts'
import { split } from './cluster/splitter.mjs'
import { Ledger, newTopic, payloadOf, Receiver } from './crash/ledger.ts'
import { listen } from './support/network/network.ts'
import { root } from './support/program.ts'

t.setTimeout(300_000) // processes take their time on a busy machine

const [faults, leaseMs, seed] = [6, 1_500, 1883]
/** `npm run test:chaos` has more, and other chances each time. */
const only = ['kill', 'redis-restart', 'redis-pause', 'cut', 'leave', 'migrate']

t.test(`a cluster to which ${faults} things happen under load loses nothing, doubles no QoS 2 message and no Session, and keeps the order`, async t => {
  const again = `npm run test:chaos -- --faults ${faults} --seed ${seed} --lease ${leaseMs} --only ${only.join(',')}`
  t.comment(again)
  const report = await campaign({ program: join(root, 'test/cluster/node.mjs'), faults, seed, leaseMs, only, progress: text => { t.comment(text) } })
  t.same(report.faults, [], again)
  t.match(report, { happened: faults, lost: 0, doubled: 0, outOfOrder: 0 })
  t.equal(report.acknowledged + report.refused, report.published)
  t.ok(report.published > 0 && report.received > report.published && report.wills > 0, 'there was load')
})

/** A subscriber with QoS 2 to one topic of that QoS, and what is said against what came to it. */
function subscriber (qos: 1 | 2, sent: number): { receiver: Receiver, faults: string[], get: (...numbers: number[]) => void } {
  const [ledger, faults] = [new Ledger(), [] as string[]]
  const topic = ledger.add(newTopic('load/a', qos))
  topic.sent = sent
  const receiver = new Receiver('reader', 2, ['load/'], { ledger, fault: text => { faults.push(text) } })
  const get = (...numbers: number[]): void => {
    for (const number of numbers) receiver.receive({ topicName: topic.name, payload: payloadOf(topic, number), qos, retain: false })
  }
  return { receiver, faults, get }
}

t.test('the check finds what is lost', t => {
  const { receiver, faults, get } = subscriber(1, 4)
  get(1, 2, 4)
  t.equal(receiver.isComplete, false)
  t.same(receiver.missing(), ['load/a 3'])
  get(3)
  t.equal(receiver.isComplete, true)
  t.same(receiver.missing(), [])
  t.same(faults, ['reader got load/a 3 after 4'], 'which is not the order in which they were sent')
  t.end()
})

t.test('the check finds what is doubled, which QoS 1 may be', t => {
  const once = subscriber(2, 3)
  once.get(1, 2, 2, 3)
  t.match(once, { receiver: { doubled: 1, repeated: 0, isComplete: true }, faults: ['reader got load/a 2 2 times [MQTT-4.3.3-2]'] })
  const atLeastOnce = subscriber(1, 3)
  atLeastOnce.get(1, 2, 1, 2, 3)
  t.match(atLeastOnce, { receiver: { doubled: 0, repeated: 2, outOfOrder: 0, isComplete: true }, faults: [] })
  const lossy = subscriber(1, 3)
  lossy.get(1, 1, 1)
  t.equal(lossy.receiver.isComplete, false, 'repetitions do not stand for what is missing')
  t.end()
})

t.test('the check finds what comes out of order, changed, or from nowhere', t => {
  const { receiver, faults, get } = subscriber(2, 3)
  get(2, 1, 3)
  t.equal(receiver.outOfOrder, 1)
  t.same(faults.splice(0), ['reader got load/a 1 after 2'])
  receiver.receive({ topicName: 'load/a', payload: Buffer.from('2 x'), qos: 2, retain: false })
  get(4)
  t.same(faults.splice(0), ['reader got what nobody has sent: load/a 2', 'reader got what nobody has sent: load/a 4'])
  receiver.receive({ topicName: 'load/a', payload: payloadOf({ name: 'load/a' }, 3), qos: 1, retain: false })
  t.same(faults, ['reader got load/a 3 with QoS 1, RETAIN false'])
  t.end()
})

t.test('a message that the broker has said no to need not come', t => {
  const ledger = new Ledger()
  const topic = ledger.add(newTopic('load/a', 1))
  topic.sent = 1
  topic.refused.add(1)
  const receiver = new Receiver('reader', 1, ['load/'], { ledger, fault: text => { t.fail(text) } })
  t.equal(receiver.isComplete, true)
  t.end()
})

const right: Census = {
  nodes: ['1', '2'], owned: new Map([['1', ['11']], ['2', ['12']]]), online: new Map([['1', ['a']], ['2', ['b']]]),
  sessions: new Map([['11', { clientIdentifier: 'a', owner: '1' }], ['12', { clientIdentifier: 'b', owner: '2' }]]), names: new Map([['a', '11'], ['b', '12']]),
  keys: ['nodes', 'own:1', 'own:2', 'on:1', 'on:2', 's:11', 's:12', 'c:a', 'c:b', 'f:11', 'lg'],
}
const planted: readonly [name: string, wrong: Partial<Census>, found: readonly string[]][] = [
  ['a Session that nobody has', { owned: new Map([['1', ['11']]]) }, ['Session 12 is the own of [], and says 2']],
  ['a Session that two nodes have', { owned: new Map([['1', ['11', '12']], ['2', ['12']]]) }, ['Session 12 is the own of [1,2], and says 2']],
  ['a node that has died and was not buried', { nodes: ['1', '2', '3'] }, ['there are 3 nodes in Redis: 1,2,3']],
  ['a Session whose node has gone', { nodes: ['2'] }, ['there are 1 nodes in Redis: 2', 'Session 11 is the own of [1], and says 1', 'there is a key own:1', 'there is a key on:1']],
  ['a Client that is online at two nodes', { online: new Map([['1', ['a', 'b']], ['2', ['b']]]) }, ['b is online at [1,2], and 2 has its Session']],
  ['a Client that is online where its Session is not', { online: new Map([['1', ['a', 'b']]]) }, ['b is online at [1], and 2 has its Session']],
  ['a Client without a Session', { names: new Map([['a', '11']]) }, ['b has the Sessions [12], and is said to have none']],
  ['a Client with another one', { names: new Map([['a', '11'], ['b', '13']]) }, ['b has the Sessions [12], and is said to have 13']],
  ['what belongs to no Session', { keys: [...right.keys, 'f:13'] }, ['there is a key f:13']],
  ['messages that were not delivered', { keys: [...right.keys, 'q:11'] }, ['there is a key q:11']],
]

t.test('the check finds Sessions that are nowhere, or in two places, and keys without an owner', t => {
  t.same(censusFaults(right, ['a', 'b'], 2), [])
  for (const [name, wrong, found] of planted) t.same(censusFaults({ ...right, ...wrong }, ['a', 'b'], 2), found, name)
  t.same(remains(right), ['own:1', 'own:2', 'on:1', 'on:2', 's:11', 's:12', 'c:a', 'c:b', 'f:11'])
  t.same(remains({ ...right, keys: ['nodes', 'lg', 'n', 'ret:17', 'w:1'] }), [])
  t.end()
})

/** A server that says its name to everybody, and then what is said to it. */
async function echo (t: Test, name: string): Promise<number> {
  const server: Server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.write(name)
    socket.pipe(socket)
    t.teardown(() => { socket.destroy() })
  })
  return listen(t, server)
}

/** The next that comes. */
async function said (socket: Socket): Promise<string> {
  const [chunk] = await once(socket, 'data') as [Buffer]
  return chunk.toString()
}

t.test('the splitter gives each connection to another node', async t => {
  const splitter = await split([await echo(t, 'a'), await echo(t, 'b')])
  t.teardown(() => { splitter.close() })
  for (const name of ['a', 'b', 'a']) {
    const socket = connect(splitter.port, '127.0.0.1')
    t.equal(await said(socket), name)
    socket.end('and')
    t.equal(await said(socket), 'and', 'what is said before the end arrives')
    await once(socket, 'close')
  }
})

t.test('the network to Redis breaks, or falls silent, and what waited arrives', async t => {
  const proxy = await RedisProxy.start(await echo(t, 'a'))
  t.teardown(() => { proxy.close() })
  const socket = connect(proxy.port, '127.0.0.1').on('error', () => undefined)
  t.equal(await said(socket), 'a')
  proxy.cut('silent')
  socket.write('waited')
  const late = connect(proxy.port, '127.0.0.1')
  await once(late, 'connect')
  t.equal(socket.bytesRead + late.bytesRead, 1)
  proxy.heal()
  t.same(await Promise.all([said(socket), said(late)]), ['waited', 'a'])
  proxy.cut('broken')
  await Promise.all([once(socket, 'close'), once(late, 'close')])
  const refused = connect(proxy.port, '127.0.0.1').on('error', () => undefined)
  await once(refused, 'close')
  t.equal(refused.bytesRead, 0)
})
