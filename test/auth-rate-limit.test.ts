import { createServer } from 'node:http'
import { BlockList, isIPv4 } from 'node:net'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import fc from 'fast-check'
import { addressList, addressPrefix, ErrorCode, ReasonCode, type AuthenticateResult, type AuthenticationMethod, type ConnectionInfo, type Hooks } from '../lib/index.ts'
import { PacketType, type ConnectPacket } from '../lib/packet/packets.ts'
import { rateLimit, type RateLimitOptions } from '../plugins/rate-limit/index.ts'
import { connectPacket, PacketClient, settled, startBroker } from './support/harness.ts'
import { listen, networkBroker, dial } from './support/network/network.ts'
import { MemoryLogger } from './support/observe.ts'
import { arrive, attempt, bad, enter, type Outcome, outcome, passwords, right, start, wrong } from './support/plugins/rate-limit.ts'

t.setTimeout(120_000) // a million addresses take their time on a busy machine

t.test('options that are wrong are refused at once', t => {
  const cases: unknown[] = [
    { conections: {} }, { connections: {} }, { connections: { perSecond: 0 } }, { connections: { perSecond: 1, bursts: 2 } }, { connections: { perSecond: NaN } },
    { connections: null }, { concurrent: 0 }, { failedLogins: { attempts: 0 } }, { failedLogins: { factor: 0.5 } }, { failedLogins: { __proto__: null, toString: 1 } },
    { publishes: {} }, { publishes: { perSecond: 1, action: 'drop' } }, { publishes: { perSecond: '1' } }, { flapping: { times: 1 } }, { addressPrefix: { ipv6: 129 } },
    { allow: ['10.0.0.0/33'] }, { allow: ['example.org'] }, { allow: ['::1/-1'] }, { allow: [7] }, { allow: ['10.0.0.0/8/8'] }, { maximumEntries: 10 },
  ]
  for (const options of cases) t.throws(() => rateLimit(options as RateLimitOptions), { code: ErrorCode.optionInvalid }, JSON.stringify(options))
  t.equal(rateLimit().name, 'rate-limit')
  t.equal(rateLimit({ name: 'edge' }).name, 'edge')
  t.equal(rateLimit().hooks?.authorizePublish, undefined, 'what is not limited costs nothing')
  t.end()
})

t.test('connections: a burst, then so many a second, each address for itself', async t => {
  const test = await start(t, { connections: { perSecond: 2, burst: 3 }, allow: ['10.1.0.0/16', '::1'] })
  const count = (address: string | undefined): number => Array.from({ length: 5 }, () => arrive(test, address)).filter(client => client !== undefined).length
  t.equal(count('192.0.2.1'), 3)
  t.equal(count('192.0.2.2'), 3, 'another address has its own')
  t.equal(count('::ffff:192.0.2.2'), 0, 'the same one in IPv6 notation has not')
  t.equal(count('10.1.2.3'), 5, 'allowed')
  t.equal(count('::1'), 5, 'allowed')
  t.equal(count(undefined), 5, 'a unix socket has no address')
  await test.clock.advance(1000)
  t.equal(count('192.0.2.1'), 2)
  await test.clock.advance(3_600_000)
  t.equal(count('192.0.2.1'), 3, 'what is not used up does not gather over the burst')
  t.match(test.limit.metrics, { addresses: 2, connectionsTooFast: 2 + 2 + 5 + 3 + 2, connectionsBanned: 0 })
})

t.test('concurrent: counts what is open, however it ends, by /64', async t => {
  const test = await start(t, { concurrent: 2 }, { authorizeConnection: ({ connection }) => connection.listener === undefined })
  const own = await enter(test, '2001:db8::1', { clientIdentifier: 'a' })
  const silent = arrive(test, '2001:db8::2')
  t.equal(arrive(test, '2001:0DB8:0:0:ffff::'), undefined, 'a third of the same /64')
  t.ok(arrive(test, '2001:db8:0:1::1'), 'another /64')
  await silent?.vanish()
  const [reasonCode, refused] = await attempt(test, '2001:db8::3', { clientIdentifier: '', protocolVersion: 4, cleanStart: false })
  t.equal(reasonCode, ReasonCode.clientIdentifierNotValid)
  await refused?.vanish()
  t.ok(arrive(test, '2001:db8::4'), 'one that never spoke, and one that was refused, count no more')
  t.equal(arrive(test, '2001:db8::5'), undefined)
  own.disconnect()
  await settled()
  own.stream.end()
  await settled()
  t.ok(arrive(test, '2001:db8::5'))
  t.match(test.limit.metrics, { connectionsTooMany: 2 })
})

t.test('concurrent: who another plugin turns away does not stay counted', async t => {
  const refuse = { isRefusing: true }
  const test = await start(t, { concurrent: 1 })
  test.broker.hook({ authorizeConnection: () => !refuse.isRefusing })
  for (let i = 0; i < 5; i++) t.equal(arrive(test, '192.0.2.1'), undefined)
  await settled()
  refuse.isRefusing = false
  t.ok(arrive(test, '192.0.2.1'))
})

t.test('failed logins: banned before a byte is read, for longer each time; a ban ends by itself, and is logged once', async t => {
  let asked = 0
  const authenticate: Hooks['authenticate'] = ({ password }) => { asked++; return password?.toString() === 'right' }
  const test = await start(t, { failedLogins: { attempts: 3, withinMs: 10_000, banMs: 1000, factor: 3, maximumBanMs: 5000 } }, { authenticate })
  for (const banMs of [1000, 3000, 5000, 5000]) {
    for (let i = 0; i < 3; i++) t.equal(await outcome(test, '192.0.2.1', wrong), bad)
    asked = 0
    for (let i = 0; i < 20; i++) t.equal(await outcome(test, '192.0.2.1', right), 'closed', 'the right password as well')
    t.equal(asked, 0, 'nobody is asked')
    t.equal(await outcome(test, '192.0.2.2', right), ReasonCode.success, 'others are not banned')
    t.match(test.logger.take('warn'), [new RegExp(`^192.0.2.1 is banned for ${banMs / 1000} s: too many failed logins$`)])
    await test.clock.advance(banMs - 1)
    t.equal(await outcome(test, '192.0.2.1', right), 'closed')
    await test.clock.advance(1)
    t.equal(await outcome(test, '192.0.2.1', right), ReasonCode.success, 'somebody else behind the same NAT, say')
  }
  await test.clock.advance(5000)
  for (let i = 0; i < 3; i++) await outcome(test, '192.0.2.1', wrong)
  t.match([...test.limit.bans()], [{ address: '192.0.2.1', until: test.clock.now() + 1000, count: 1 }], 'who behaved begins anew')
  t.match(test.limit.metrics, { bans: 5, loginsFailed: 15 })
})

t.test('failed logins: slow guesses are counted within their time only; a success forgives none', async t => {
  const test = await start(t, { failedLogins: { attempts: 3, withinMs: 10_000 } }, passwords)
  for (let i = 0; i < 6; i++) {
    t.equal(await outcome(test, '192.0.2.1', wrong), bad)
    await test.clock.advance(5000)
  }
  t.equal(await outcome(test, '192.0.2.9', wrong), bad)
  t.equal(await outcome(test, '192.0.2.9', wrong), bad)
  t.equal(await outcome(test, '192.0.2.9', right), ReasonCode.success, 'an attacker may have a password of his own')
  t.equal(await outcome(test, '192.0.2.9', wrong), bad)
  t.equal(await outcome(test, '192.0.2.9', right), 'closed')
})

t.test('failed logins: an attacker who changes his address within his /64 is one attacker', async t => {
  const test = await start(t, { failedLogins: { attempts: 10 } }, passwords)
  const guesses: Outcome[] = []
  for (let i = 0; i < 100; i++) guesses.push(await outcome(test, `2001:db8:7:8:${(i * 601).toString(16)}::${i.toString(16)}`, wrong))
  t.equal(guesses.filter(code => code === bad).length, 10)
  t.equal(await outcome(test, '2001:db8:7:9::1', right), ReasonCode.success)
  t.equal(test.limit.metrics.addresses, 2)
})

t.test('failed logins: only wrong credentials count, not a backend that is busy, or away', async t => {
  const answers: (() => AuthenticateResult | Promise<AuthenticateResult>)[] = [
    () => { throw new Error('the database is away') }, () => Promise.reject(new Error('the database is away')),
    ...[ReasonCode.serverBusy, ReasonCode.serverUnavailable, ReasonCode.useAnotherServer, ReasonCode.quotaExceeded].map(reasonCode => () => ({ allow: false as const, reasonCode })),
  ]
  let answer = answers[0]
  const broken: AuthenticationMethod = { name: 'BROKEN', start: () => ({ next: () => { throw new Error('the database is away') } }) }
  const test = await start(t, { failedLogins: { attempts: 1 } }, { authenticate: () => answer?.() }, { authenticationMethods: [broken] })
  for (answer of answers) t.not(await outcome(test, '192.0.2.1', wrong), 'closed')
  await outcome(test, '192.0.2.1', { properties: { authenticationMethod: 'BROKEN' } })
  await outcome(test, '192.0.2.1', { properties: { authenticationMethod: 'UNKNOWN' } })
  await outcome(test, '192.0.2.1', { clientIdentifier: 'x'.repeat(1000) })
  arrive(test, '192.0.2.1')?.write('ff ff')
  arrive(test, '192.0.2.1')?.stream.end()
  arrive(test, '192.0.2.1')
  await test.clock.advance(20_000)
  answer = () => true
  t.equal(await outcome(test, '192.0.2.1', { ...right, will: undefined }), ReasonCode.success)
  t.match(test.limit.metrics, { loginsFailed: 0, bans: 0 })
  answer = () => undefined
  t.equal(await outcome(test, '192.0.2.1'), ReasonCode.notAuthorized)
  t.equal(await outcome(test, '192.0.2.1'), 'closed', 'no credentials at all count')
})

t.test('failed logins: connections that were opened before the ban gain nothing', async t => {
  const test = await start(t, { failedLogins: { attempts: 2 } }, passwords)
  const early = Array.from({ length: 5 }, () => arrive(test, '192.0.2.1'))
  for (let i = 0; i < 2; i++) await outcome(test, '192.0.2.1', wrong)
  for (const client of early) t.match(await client?.send(connectPacket(right)).take(), [{ type: PacketType.connack, reasonCode: ReasonCode.banned }])
  t.equal([...test.broker.clients()].length, 0)
})

t.test('failed logins: by an authentication method, at CONNECT and of a Client that authenticates anew', async t => {
  const method: AuthenticationMethod = { name: 'TOY', start: () => ({ next: data => data?.toString() === 'right' ? { allow: true } : { allow: false } }) }
  const test = await start(t, { failedLogins: { attempts: 2 } }, {}, { authenticationMethods: [method] })
  const properties = (text: string): ConnectPacket['properties'] => ({ authenticationMethod: 'TOY', authenticationData: Buffer.from(text) })
  const client = await enter(test, '192.0.2.1', { clientIdentifier: 'own', properties: properties('right') })
  client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: properties('wrong') })
  t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.notAuthorized }])
  t.equal(await outcome(test, '192.0.2.1', { properties: properties('wrong') }), ReasonCode.notAuthorized)
  t.equal(await outcome(test, '192.0.2.1', { properties: properties('right') }), 'closed')
})

t.test('bans by hand: told, lifted, and the Clients of the address are disconnected', async t => {
  const test = await start(t, { failedLogins: { attempts: 1 } }, passwords)
  const client = await enter(test, '2001:db8:1:2::9', { ...right, clientIdentifier: 'guest' })
  const other = await enter(test, '2001:db8:1:3::9', { ...right, clientIdentifier: 'other' })
  test.limit.ban('2001:db8:1:2::1', 60_000)
  t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.notAuthorized }])
  t.strictSame(await other.take(), [])
  t.equal(await outcome(test, '2001:db8:1:2::9', right), 'closed')
  t.strictSame([...test.limit.bans()], [{ address: '2001:db8:1:2::/64', until: test.clock.now() + 60_000, count: 1 }])
  t.equal(test.limit.unban('2001:db8:1:2::/64'), true)
  t.equal(test.limit.unban('2001:db8:1:2::/64'), false)
  t.equal(test.limit.unban('192.0.2.77'), false, 'one that nobody has heard of')
  t.equal(await outcome(test, '2001:db8:1:2::9', right), ReasonCode.success)
  t.equal(await outcome(test, '192.0.2.1', wrong), bad)
  t.equal(test.limit.unban('::ffff:192.0.2.1'), true)
  t.equal(await outcome(test, '192.0.2.1', right), ReasonCode.success)
  for (const address of ['10.0.0.0/8', 'everybody', '', '2001:db8::/32']) t.throws(() => { test.limit.ban(address, 1000) }, { code: ErrorCode.optionInvalid }, address)
  for (const ms of [0, -1, NaN]) t.throws(() => { test.limit.ban('192.0.2.1', ms) }, { code: ErrorCode.optionInvalid })
  rateLimit().ban('192.0.2.1', 1000) // before there is a broker
})

t.test('a clock that is set back makes no ban longer than it was meant to be, and stops no flow', async t => {
  const test = await start(t, { failedLogins: { attempts: 1, banMs: 1000 }, connections: { perSecond: 1, burst: 2 } }, passwords)
  t.equal(await outcome(test, '192.0.2.1', wrong), bad)
  const now = test.clock.now()
  test.clock.now = () => now - 3_600_000
  t.equal(await outcome(test, '192.0.2.1', right), 'closed')
  test.clock.now = () => now - 3_599_000
  t.equal(await outcome(test, '192.0.2.1', right), ReasonCode.success)
  test.clock.now = () => now - 7_200_000
  await outcome(test, '192.0.2.1', right)
  test.clock.now = () => now - 7_198_000
  await outcome(test, '192.0.2.1', right)
  test.clock.now = () => now - 7_197_000
  t.equal(await outcome(test, '192.0.2.1', right), ReasonCode.success)
})

t.test('the address is the Client\'s, where a proxy tells it by the PROXY protocol', async t => {
  const test = await start(t, { failedLogins: { attempts: 1 } }, passwords)
  const handle = test.broker.listener({ proxyProtocol: true })
  const login = async (address: string, fields: Partial<ConnectPacket>): Promise<Outcome> => {
    const client = new PacketClient(test.broker, 5, stream => { handle(Object.assign(stream, { remoteAddress: '10.0.0.1' })) })
    client.stream.write(`PROXY TCP4 ${address} 10.0.0.1 4711 1883\r\n`)
    const [connack] = await client.send(connectPacket(fields)).takeType(PacketType.connack)
    return connack?.reasonCode ?? 'closed'
  }
  t.equal(await login('203.0.113.9', wrong), bad)
  t.equal(await login('203.0.113.9', right), 'closed')
  t.equal(await login('203.0.113.8', right), ReasonCode.success, 'the proxy itself is not banned')
  t.match([...test.limit.bans()], [{ address: '203.0.113.9' }])
})

t.test('the address is the Client\'s, where a trusted proxy tells it by X-Forwarded-For; others cannot pretend one', async t => {
  for (const trustProxy of [1, false]) {
    const limit = rateLimit({ failedLogins: { attempts: 1 } })
    const broker = await networkBroker(t, { hooks: passwords, plugins: [limit] })
    const server = createServer()
    broker.attach(server, { trustProxy })
    const url = `ws://127.0.0.1:${await listen(t, server)}/mqtt`
    const login = (address: string, password: string): Promise<unknown> =>
      dial(t, url, { protocolVersion: 5, username: 'ada', password, wsOptions: { headers: { 'X-Forwarded-For': `198.18.0.1, ${address}` } } })
    await t.rejects(login('203.0.113.9', 'wrong'), { code: bad })
    await t.rejects(login('203.0.113.9', 'right'))
    if (trustProxy === 1) await t.resolves(login('203.0.113.8', 'right'))
    else await t.rejects(login('203.0.113.8', 'right'))
    t.match([...limit.bans()], [{ address: trustProxy === 1 ? '203.0.113.9' : '127.0.0.1' }])
  }
})

const familyOf = (address: string): 'ipv4' | 'ipv6' => isIPv4(address) ? 'ipv4' : 'ipv6'

t.test('every spelling of an address is one; addresses are one up to the prefix, and not beyond', t => {
  const whole = (text: string): string => addressPrefix(text, { ipv4: 32, ipv6: 128 }) ?? ''
  fc.assert(fc.property(fc.ipV6(), fc.ipV6(), (one, other) => {
    const canonical = (text: string): string => new URL(`http://[${text}]/`).hostname
    const isMapped = [one, other].some(text => /^\[::ffff:[\da-f]+:[\da-f]+\]$/.test(canonical(text)))
    const spelt = isMapped ? `::FFFF:${whole(one)}` : whole(one).split(':').map(group => group.toUpperCase().padStart(4, '0')).join(':')
    const half = (text: string): string => whole(text).split(':').slice(0, 4).join(':')
    const name = addressPrefix
    return isMapped || (canonical(spelt) === canonical(one) && name(spelt) === name(one) && name(`${one}%eth0`) === name(one) && (name(one) === name(other)) === (half(one) === half(other)))
  }))
  fc.assert(fc.property(fc.ipV4(), text => addressPrefix(text) === text && addressPrefix(`::ffff:${text}`) === text))
  t.equal(addressPrefix('198.51.100.77', { ipv4: 24, ipv6: 64 }), '198.51.100.0/24')
  t.equal(addressPrefix('2001:db8:1:2ff::1', { ipv4: 24, ipv6: 56 }), '2001:db8:1:200::/56')
  t.equal(addressPrefix('2001:db8::1', { ipv4: 24, ipv6: 128 }), '2001:db8:0:0:0:0:0:1')
  for (const text of ['', 'unknown', '1.2.3', '1.2.3.4.5', '::1::', '256.1.1.1', 'fe80', '__proto__']) t.equal(addressPrefix(text), undefined, text)
  t.end()
})

t.test('an address list has what Node\'s BlockList has, in either notation of IPv4', t => {
  const network = fc.oneof(fc.tuple(fc.ipV4(), fc.integer({ min: 1, max: 32 })), fc.tuple(fc.ipV6(), fc.integer({ min: 1, max: 128 })))
  fc.assert(fc.property(network, fc.oneof(fc.ipV4(), fc.ipV6()), ([base, bits], stranger) => {
    const list = addressList([`${base}/${bits}`])
    const oracle = new BlockList()
    oracle.addSubnet(base, bits, familyOf(base))
    return list?.has(base) === true && list.has(stranger) === oracle.check(stranger, familyOf(stranger))
  }))
  const list = addressList(['10.0.0.0/8', '2001:db8::/33', '::1', '192.0.2.7'])
  for (const address of ['10.255.0.1', '::ffff:10.1.2.3', '::ffff:a01:203', '2001:DB8:7fff::1%eth0', '0:0:0:0:0:0:0:1', '192.0.2.7']) t.equal(list?.has(address), true, address)
  for (const address of ['11.0.0.1', '2001:db8:8000::', '::2', '192.0.2.8', '', 'unknown', '10.0.0.1:80', '10.0.0.1/8']) t.equal(list?.has(address), false, address)
  for (const range of ['10.0.0.0/33', '::/129', '10.0.0.0/', '/8', '10.0.0.0/8/8', '10.0.0/8', '::1/-1', 'example.org', '', 7 as never]) t.equal(addressList(['::1', range]), undefined, range)
  t.equal(addressList(['::/0'])?.has('192.0.2.1'), true, 'everything')
  t.equal(addressList([])?.has('::1'), false)
  t.end()
})

t.test('what a stream of the host\'s own calls an address counts as one', async t => {
  const test = await start(t, { concurrent: 1 })
  for (const address of ['vsock:3', '__proto__', 'x'.repeat(100_000)]) {
    t.ok(arrive(test, address))
    t.equal(arrive(test, address), undefined)
  }
})

const collect = (() => { setFlagsFromString('--expose-gc'); return runInNewContext('gc') as () => void })()

function kept (): number {
  collect()
  return getHeapStatistics().used_heap_size
}

t.test('connectionRate of the broker keeps flowing when the clock is set back', async t => {
  const test = await startBroker(t, { limits: { connectionRate: 2, publishRate: 2 } })
  const now = test.clock.now()
  t.equal(await outcome(test, '192.0.2.1'), ReasonCode.success)
  test.clock.now = () => now - 3_600_000
  const client = await enter(test, '192.0.2.1')
  test.clock.now = () => now - 3_599_000
  t.equal(await outcome(test, '192.0.2.1', { clientIdentifier: 'other' }), ReasonCode.success)
  for (let i = 0; i < 2; i++) client.publish('a', 'x')
  await settled()
  test.clock.now = () => now - 7_200_000
  client.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  await test.clock.advance(1000)
  t.match(await client.takeType(PacketType.puback), [{ packetIdentifier: 1 }], 'publishRate as well')
})

t.test('a million addresses take no more memory than maximumEntries allows, and free nobody who is banned', async t => {
  const limit = rateLimit({ connections: { perSecond: 10 }, concurrent: 10, failedLogins: { attempts: 3 }, maximumEntries: 20_000 })
  const logger = new MemoryLogger()
  await startBroker(t, { logger, plugins: [limit] })
  const { authorizeConnection, refused, connectionEnded } = limit.hooks ?? {}
  const from = (remoteAddress: string): ConnectionInfo => ({ remoteAddress }) as ConnectionInfo
  const guess = (address: string): boolean => {
    const connection = from(address)
    const isIn = authorizeConnection?.({ connection }) === true
    if (isIn) refused?.({ connection, error: { code: ErrorCode.notAuthenticated, reasonCode: bad } as never })
    connectionEnded?.({ connection })
    return isIn
  }
  const offenders = Array.from({ length: 5_000 }, (_, i) => `198.18.${i >> 8}.${i & 255}`)
  for (const address of offenders) for (let i = 0; i < 3; i++) guess(address)
  t.equal([...limit.bans()].length, 5_000)
  logger.lines.length = 0
  const before = kept()
  for (let i = 0; i < 1_000_000; i++) guess(`2001:db8:${(i >> 16).toString(16)}:${(i & 0xffff).toString(16)}::1`)
  const grown = kept() - before
  t.match(limit.metrics, { addresses: 25_000, forgotten: 980_000 })
  t.ok(grown < 12 * 1024 * 1024, `${grown} bytes for 20,000 more entries`)
  t.equal(offenders.filter(guess).length, 0, 'all of them are still banned')
})

t.test('who floods the memory with bans pushes out the shortest, not those who were banned again and again', async t => {
  const limit = rateLimit({ failedLogins: { attempts: 1, banMs: 1000, factor: 10 }, maximumEntries: 1000 })
  await startBroker(t, { plugins: [limit] })
  const fail = (remoteAddress: string): void => {
    limit.hooks?.refused?.({ connection: { remoteAddress } as ConnectionInfo, error: { code: ErrorCode.notAuthenticated, reasonCode: bad } as never })
  }
  for (let i = 0; i < 100; i++) {
    limit.ban(`198.18.0.${i}`, 3_600_000)
  }
  for (let i = 0; i < 100_000; i++) fail(`2001:db8:${(i >> 16).toString(16)}:${(i & 0xffff).toString(16)}::1`)
  const banned = [...limit.bans()]
  t.ok(banned.length <= 1000)
  t.equal(banned.filter(({ address }) => address.startsWith('198.18')).length, 100)
})
