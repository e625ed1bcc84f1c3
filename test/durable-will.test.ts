import t, { type Test } from 'tap'
import type { Hooks } from '../lib/index.ts'
import { PacketType, type ConnectPacket } from '../lib/packet/packets.ts'
import { TestCluster } from './support/cluster/cluster.ts'
import { World } from './support/stores/durable-world.ts'
import { exactly, lasting, open, payloadsOf, receiveAll, will } from './support/exchanges.ts'
import { connectPacket, PacketClient, settled } from './support/harness.ts'

/** Hooks that take their time over Will Messages, once their Clients are connected. */
class SlowHooks {
  isSlow = false
  readonly #waiting: ((isAllowed: boolean) => void)[] = []

  get waiting (): number { return this.#waiting.length }

  async answer (isAllowed: boolean): Promise<void> {
    for (const answer of this.#waiting.splice(0)) answer(isAllowed)
    await settled()
  }

  readonly #ask = async (): Promise<boolean> => new Promise(resolve => { this.#waiting.push(resolve) })

  readonly authorizePublish: NonNullable<Hooks['authorizePublish']> = ({ isWill }) => isWill && this.isSlow ? this.#ask() : true
  readonly onPublish: NonNullable<Hooks['onPublish']> = ({ message }) => message.topicName === 'will' && this.isSlow ? this.#ask().then(() => undefined) : undefined
}

const mortal = (fields: Partial<ConnectPacket> = {}): Partial<ConnectPacket> => lasting({ clientIdentifier: 'mortal', will: will({ qos: 1 }), ...fields })

async function start (t: Test, name: 'authorizePublish' | 'onPublish' = 'authorizePublish', patienceMs = 0): Promise<[World, SlowHooks]> {
  const hooks = new SlowHooks()
  const world = await World.start(t, { hooks: { [name]: hooks[name] } })
  world.store.patienceMs = patienceMs
  const [watcher] = await open(world.test, watching)
  await watcher.subscribe('will', { qos: 1 })
  return [world, hooks]
}

const watching = lasting({ clientIdentifier: 'watcher' })

/** What the watcher finds when it comes back, and what is in the store of others. */
async function found (world: World): Promise<[payloads: string[], records: number]> {
  await world.test.clock.advance(1_000)
  const [watcher] = await open(world.test, watching)
  const payloads = payloadsOf(await receiveAll(watcher))
  await world.test.clock.advance(1_000)
  let records = -1 // its own
  for await (const { record } of world.store.sessions()) if (record.clientIdentifier !== 'mortal' || record.hasEnded === true) records++
  return [payloads, records]
}

t.test('CONNACK waits until the Will is stored, also of a Session that ends with its connection [MQTT-3.1.2-7]', async t => {
  const [world] = await start(t)
  world.store.holds = 'commits'
  const fields = mortal({ properties: undefined })
  const client = new PacketClient(world.test.broker, 5)
  client.send(connectPacket(fields))
  await settled()
  exactly(t, client.received, [])
  await world.store.release()
  exactly(t, await client.take(), [{ type: PacketType.connack, reasonCode: 0 }])
  await world.crash()
  t.strictSame(await found(world), [['gone'], 0])
})

const stay = (): Promise<void> => Promise.resolve()

const ends: readonly (readonly [string, Partial<ConnectPacket>, (world: World) => Promise<void>, string[]])[] = [
  ['its Session stays', {}, stay, ['gone']],
  ['its Session ends with the connection', { properties: undefined }, stay, ['gone']],
  ['it was delayed', { will: will({ qos: 1, properties: { willDelayInterval: 10 } }) }, async ({ test }) => { await test.clock.advance(11_000) }, ['gone']],
  ['its Client is back, with another Will', {}, async ({ test }) => { await open(test, mortal({ will: will({ qos: 1, payload: Buffer.from('gone again') }) })) }, ['gone', 'gone again']],
  ['its Client has begun anew', { properties: undefined }, async ({ test }) => { await open(test, mortal({ will: undefined, cleanStart: true })) }, ['gone']],
]

for (const name of ['authorizePublish', 'onPublish'] as const) {
  for (const [when, fields, leave, expected] of ends) {
    t.test(`a Will Message that waits for ${name} survives the end of the process, where ${when} [MQTT-3.1.2-8]`, async t => {
      const [world, hooks] = await start(t, name)
      const [client] = await open(world.test, mortal(fields))
      hooks.isSlow = true
      await client.vanish()
      hooks.isSlow = when === 'it was delayed'
      await leave(world)
      t.equal(hooks.waiting, 1)
      hooks.isSlow = true
      await world.crash()
      await world.test.clock.advance(1_000)
      if (name === 'onPublish') t.equal(hooks.waiting, 1 + expected.length, 'it waits in the next process, too')
      await world.crash()
      hooks.isSlow = false
      t.strictSame((await found(world))[0].sort(), expected)
      await world.crash()
      t.strictSame(await found(world), [[], 0], 'once it is stored nothing else is left of it')
    })
  }

  t.test(`once ${name} has allowed it, it is published once, and stored by the time its record is forgotten`, async t => {
    const [world, hooks] = await start(t, name, 10)
    const [client] = await open(world.test, mortal())
    hooks.isSlow = true
    await client.vanish()
    await hooks.answer(true)
    await world.crash()
    hooks.isSlow = false
    t.strictSame(await found(world), [['gone'], 0])
  })
}

t.test('a Will Message that waits because its Session was taken over survives the end of the process, too', async t => {
  const [world, hooks] = await start(t)
  await open(world.test, mortal())
  hooks.isSlow = true
  await open(world.test, mortal({ will: undefined }))
  t.equal(hooks.waiting, 1)
  await world.crash()
  hooks.isSlow = false
  t.strictSame((await found(world))[0], ['gone'])
})

t.test('one that the hook refuses, or that nobody is subscribed to, is forgotten', async t => {
  for (const isAllowed of [false, true]) {
    const [world, hooks] = await start(t)
    const [client] = await open(world.test, mortal({ will: will({ topicName: isAllowed ? 'nobody' : 'will' }) }))
    hooks.isSlow = true
    await client.vanish()
    await hooks.answer(isAllowed)
    await world.crash()
    hooks.isSlow = false
    t.strictSame(await found(world), [[], 0])
  }
})

t.test('a delayed one whose Client came back is not published after the end of the process [MQTT-3.1.3-9]', async t => {
  const [world] = await start(t)
  const [client] = await open(world.test, mortal({ will: will({ qos: 1, properties: { willDelayInterval: 10 } }) }))
  await client.vanish()
  await open(world.test, mortal({ will: undefined }))
  await world.crash(20_000)
  t.strictSame(await found(world), [[], 0])
})

t.test('a Client that wants nothing of its own does not get its Will Message from the next process either (No Local)', async t => {
  const [world, hooks] = await start(t)
  const [client] = await open(world.test, mortal())
  await client.subscribe('will', { qos: 1, noLocal: true })
  hooks.isSlow = true
  await client.vanish()
  await world.crash()
  hooks.isSlow = false
  await world.test.clock.advance(1_000)
  const [back] = await open(world.test, mortal({ will: undefined }))
  t.strictSame(payloadsOf(await receiveAll(back)), [])
  t.strictSame((await found(world))[0], ['gone'])
})

// --- In a cluster

const node = { clientIdentifier: 'mortal', will: will({ qos: 1 }) }

async function startCluster (t: Test): Promise<[TestCluster, SlowHooks, () => Promise<string[]>]> {
  const hooks = new SlowHooks()
  const cluster = await TestCluster.start(t, 3, { hooks: { onPublish: hooks.onPublish } })
  const [watcher] = await cluster.durable(2, 'watcher')
  await watcher.subscribe('will', { qos: 1 })
  return [cluster, hooks, async () => payloadsOf(await receiveAll(watcher))]
}

for (const kind of ['durable', 'connect'] as const) {
  const what = kind === 'durable' ? 'a Session that stays' : 'one that ends with its connection'
  t.test(`a node that dies while a hook is asked about the Will of ${what}: another one publishes it`, async t => {
    const [cluster, hooks, payloads] = await startCluster(t)
    const [client] = await cluster[kind](0, 'mortal', node)
    hooks.isSlow = true
    await client.vanish()
    await cluster.settle()
    cluster.kill(0)
    hooks.isSlow = false
    await cluster.pass(30_000)
    t.strictSame(await payloads(), ['gone'])
    t.strictSame(cluster.hub.state.left.filter(line => line.includes('\0')), [])
  })

  t.test(`a Will Message that waits for a hook while its Client goes to another node is published once (${what})`, async t => {
    const [cluster, hooks, payloads] = await startCluster(t)
    await cluster[kind](0, 'mortal', node)
    hooks.isSlow = true
    await cluster[kind](1, 'mortal', { will: undefined })
    await cluster.pass(1_000)
    const { waiting } = hooks
    await hooks.answer(true)
    await cluster.pass(30_000)
    t.strictSame([waiting, await payloads()], [1, ['gone']])
    t.strictSame(cluster.hub.state.left.filter(line => line.includes('\0')), [])
  })
}

t.test('a hook that answers before its node knows that the Session is another node\'s does not lose it', async t => {
  const [cluster, hooks, payloads] = await startCluster(t)
  const [client] = await cluster.durable(0, 'mortal', node)
  hooks.isSlow = true
  await client.vanish()
  await cluster.settle()
  cluster.at(0).node.inbox.hold()
  await cluster.durable(1, 'mortal', { will: undefined })
  await hooks.answer(true)
  await cluster.settle()
  cluster.at(0).node.inbox.release()
  await cluster.pass(1_000)
  t.strictSame(await payloads(), ['gone'])
})

t.test('a hook that answers in the same turn, by a promise all the same, leaves nothing in the cluster', async t => {
  const cluster = await TestCluster.start(t, 2, { hooks: { onPublish: () => Promise.resolve({}) } })
  const [watcher] = await cluster.durable(1, 'watcher')
  await watcher.subscribe('will', { qos: 1 })
  const [client] = await cluster.connect(0, 'mortal', node)
  await client.vanish()
  await cluster.pass(1_000)
  t.strictSame(await watcher.payloads(), ['gone'])
  t.strictSame(cluster.hub.state.left.filter(line => /\0|mortal/.test(line)), [])
})
