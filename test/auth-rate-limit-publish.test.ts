import t from 'tap'
import { ReasonCode } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { forEachVersion, settled } from './support/harness.ts'
import { enter, outcome, start } from './support/plugins/rate-limit.ts'

t.setTimeout(120_000) // a million addresses take their time on a busy machine

forEachVersion(t, 'publishes: delay holds the one connection back, and loses nothing', async (t, protocolVersion) => {
  const test = await start(t, { publishes: { perSecond: 10, burst: 5 } })
  const seen: string[] = []
  test.broker.subscribe('a/#', ({ topicName }) => { seen.push(topicName) })
  const fast = await enter(test, '192.0.2.1', { clientIdentifier: 'fast', protocolVersion })
  const other = await enter(test, '192.0.2.1', { clientIdentifier: 'other', protocolVersion })
  for (let i = 0; i < 25; i++) fast.publish(`a/${i}`, 'x', { qos: 1, packetIdentifier: i + 1 })
  await settled()
  other.publish('a/other', 'x')
  await settled()
  t.strictSame(seen, ['a/0', 'a/1', 'a/2', 'a/3', 'a/4', 'a/other'])
  await test.clock.advance(1000)
  t.equal(seen.length, 16, 'ten a second')
  await test.clock.advance(1000)
  t.strictSame(seen.filter(name => name !== 'a/other'), Array.from({ length: 25 }, (_, i) => `a/${i}`), 'all, in order')
  t.equal((await fast.takeType(PacketType.puback)).filter(({ reasonCode }) => reasonCode < 0x80).length, 25)
  t.match(test.limit.metrics, { publishesDelayed: 20, publishesRefused: 0 })
})

forEachVersion(t, 'publishes: refuse answers Quota exceeded, and the connection goes on', async (t, protocolVersion) => {
  const test = await start(t, { publishes: { perSecond: 1, burst: 2, action: 'refuse' } })
  const client = await enter(test, '192.0.2.1', { protocolVersion })
  const seen: string[] = []
  test.broker.subscribe('#', ({ payload }) => { seen.push(payload.toString()) })
  for (let i = 1; i <= 4; i++) client.publish('a', String(i), { qos: 1, packetIdentifier: i })
  const told = protocolVersion === 5 ? [0, 0, ReasonCode.quotaExceeded, ReasonCode.quotaExceeded] : [0, 0, 0, 0]
  t.strictSame((await client.takeType(PacketType.puback)).map(({ reasonCode }) => reasonCode), told)
  await test.clock.advance(1000)
  client.publish('a', '5')
  await settled()
  t.strictSame(seen, ['1', '2', '5'])
  t.match(test.limit.metrics, { publishesRefused: 2 })
})

forEachVersion(t, 'publishes: disconnect ends the connection with Message rate too high (0x96)', async (t, protocolVersion) => {
  const told: unknown[] = []
  const test = await start(t, { publishes: { perSecond: 1, action: 'disconnect' } }, { disconnected: ({ reasonCode }) => { told.push(reasonCode) } })
  const client = await enter(test, '192.0.2.1', { protocolVersion })
  for (let i = 1; i <= 4; i++) client.publish('a', String(i), { qos: 2, packetIdentifier: i })
  const packets = await client.take()
  t.match(packets[0], { type: PacketType.pubrec, packetIdentifier: 1 })
  t.match(packets.slice(1), protocolVersion === 5 ? [{ type: PacketType.disconnect, reasonCode: ReasonCode.messageRateTooHigh }] : [])
  t.equal(client.isEnded, true)
  t.strictSame(told, [ReasonCode.messageRateTooHigh])
  t.match(test.limit.metrics, { publishersDisconnected: 1 })
  t.strictSame(test.logger.take('error'), [])
})

t.test('publishes: bytes are those of payload, topic and properties; a message that would wait too long is refused', async t => {
  const test = await start(t, { publishes: { bytesPerSecond: 1000, burstBytes: 2000 } })
  const client = await enter(test, '192.0.2.1')
  const seen: number[] = []
  test.broker.subscribe('#', ({ payload }) => { seen.push(payload.length) })
  client.publish('a', 'x'.repeat(1999))
  client.publish('a', '', { properties: { userProperties: [['k', 'v'.repeat(993)]] }, qos: 1, packetIdentifier: 1 }) // 1 + 1000
  await settled()
  t.strictSame(seen, [1999])
  await test.clock.advance(999)
  t.strictSame(seen, [1999])
  await test.clock.advance(2)
  t.strictSame(seen, [1999, 0])
  await client.take()
  client.publish('a', 'x'.repeat(10_000), { qos: 1, packetIdentifier: 2 })
  t.match(await client.take(), [{ type: PacketType.puback, packetIdentifier: 2, reasonCode: ReasonCode.quotaExceeded }])
  client.publish('a', '', { properties: undefined })
  await test.clock.advance(2)
  t.strictSame(seen, [1999, 0, 0], 'what was refused is not paid for')
  t.strictSame(test.logger.take('error'), [])
})

t.test('publishes: a function decides for each Client, once; what it says wrong refuses', async t => {
  let asked = 0
  const test = await start(t, {
    publishes: ({ username }) => {
      asked++
      if (username === 'sensor') return { perSecond: 1, action: 'refuse' }
      return username === 'broken' ? { perSecond: -1 } : undefined
    },
  })
  const publish = async (username: string): Promise<number> => {
    const client = await enter(test, '192.0.2.1', { username, clientIdentifier: username })
    for (let i = 1; i <= 10; i++) client.publish('a', 'x', { qos: 1, packetIdentifier: i })
    return (await client.takeType(PacketType.puback)).filter(({ reasonCode }) => reasonCode < 0x80).length
  }
  t.equal(await publish('sensor'), 1)
  t.equal(await publish('server'), 10)
  t.equal(asked, 2)
  t.equal(await publish('broken'), 0)
  t.equal(test.logger.take('error').length, 10)
})

t.test('publishes: a Will Message is neither held back nor refused; nor can Clients who take turns gain by it', async t => {
  const test = await start(t, { publishes: { perSecond: 1, action: 'refuse' } })
  const seen: string[] = []
  test.broker.subscribe('#', ({ payload }) => { seen.push(payload.toString()) })
  const will = { topicName: 'w', payload: Buffer.from('gone'), qos: 0 as const, retain: false, properties: undefined }
  const one = await enter(test, '192.0.2.1', { clientIdentifier: 'one', will })
  const two = await enter(test, '192.0.2.1', { clientIdentifier: 'two' })
  for (let i = 0; i < 5; i++) {
    one.publish('a', 'one')
    await settled()
    two.publish('a', 'two')
    await settled()
  }
  await one.vanish()
  t.strictSame(seen, ['one', 'two', 'gone'])
})

t.test('flapping: a Client that comes and goes is kept out for a while', async t => {
  const test = await start(t, { flapping: { disconnects: 3, withinMs: 10_000, banMs: 5000 } })
  const flap = async (): Promise<void> => {
    const client = await enter(test, '192.0.2.1', { clientIdentifier: 'lamp', username: 'ada' })
    await client.vanish()
  }
  for (let i = 0; i < 3; i++) await flap()
  t.equal(await outcome(test, '192.0.2.1', { clientIdentifier: 'lamp', username: 'ada' }), ReasonCode.connectionRateExceeded)
  t.match(test.logger.take('warn'), [/a Client is kept out for 5 s/])
  for (const other of [{ clientIdentifier: 'lamp', username: 'eve' }, { clientIdentifier: 'bulb', username: 'ada' }, { clientIdentifier: 'lamp' }]) {
    t.equal(await outcome(test, '192.0.2.1', other), ReasonCode.success, JSON.stringify(other))
  }
  t.equal(await outcome(test, '192.0.2.2', { clientIdentifier: 'lamp', username: 'ada' }), ReasonCode.success, 'from elsewhere')
  await test.clock.advance(5000)
  await flap()
  t.match(test.limit.metrics, { clientsFlapping: 1, bans: 0 })
  t.equal((await start(t, { flapping: {} })).limit.metrics.clientsFlapping, 0)
})

t.test('flapping: who takes a Client\'s place again and again, or has it disconnected, does not get it kept out', async t => {
  const test = await start(t, { flapping: { disconnects: 2 }, allow: ['10.0.0.0/8'] })
  const victim = { clientIdentifier: 'lamp', username: 'ada' }
  for (let i = 0; i < 10; i++) {
    await enter(test, '192.0.2.1', victim)
    await enter(test, '192.0.2.66', { clientIdentifier: 'lamp', username: 'eve' })
    await enter(test, '192.0.2.1', victim)
    test.broker.disconnect('lamp')
  }
  await enter(test, '192.0.2.1', victim)
  for (let i = 0; i < 10; i++) await (await enter(test, '10.0.0.1', victim)).vanish()
  t.equal(test.limit.metrics.clientsFlapping, 0)
})
