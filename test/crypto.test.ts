import { createServer, type Socket } from 'node:net'
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import fc from 'fast-check'
import mqtt, { type IClientOptions, type IPublishPacket } from 'mqtt'
import { ErrorCode, memoryStore, type Broker, type Message } from '../lib/index.ts'
import { CryptoError, CryptoErrorCode, encrypted, keyring, requireEncryption, withEncryptedWill, type EncryptedClient, type KeyringEntry } from '../plugins/crypto/index.ts'
import { bySpecificity, expressionOf } from '../plugins/crypto/topic-filters.ts'
import { Xaes } from '../plugins/crypto/xaes.ts'
import { FakeClock } from './support/fake-clock.ts'
import { connected, listen, networkBroker, type RealClient } from './support/network/network.ts'

t.setTimeout(120_000)

const k1 = { id: 'k1', key: randomBytes(32) }
const k2 = { id: 'k2', key: randomBytes(32) }
const secret = 'the reactor is at 4711 degrees'
const versions = [4, 5] as const

const ring = keyring([{ filter: 'plant/#', keys: [k1] }, { filter: 'news/#', plain: true }])

function codeOf (act: () => unknown): string {
  try {
    act()
    return 'none'
  } catch (error) {
    return error instanceof CryptoError ? error.code : String(error)
  }
}

t.test('XAES-256-GCM: the vectors of its specification', t => {
  const nonce = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWX')
  const text = Buffer.from('XAES-256-GCM')
  const first = new Xaes(Buffer.alloc(32, 1)).seal(nonce, text, Buffer.alloc(0))
  t.equal(first.toString('hex'), 'ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271')
  const second = new Xaes(Buffer.alloc(32, 3)).seal(nonce, text, Buffer.from('c2sp.org/XAES-256-GCM'))
  t.equal(second.toString('hex'), '986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d')
  t.end()
})

t.test('the most specific filter wins, whatever the order of the entries', t => {
  const filters = ['#', '+/b', 'a/#', 'a/+', 'a/b', 'a/+/c', 'a/b/#', '+/+/c']
  const keysOf = (order: readonly string[]): string[] => {
    const own = keyring(order.map(filter => ({ filter, keys: [{ id: filter, key: k1.key }] })))
    return ['a/b', 'a/x', 'a', 'x/b', 'x', 'a/b/c', 'a/x/c', 'x/y/c'].map(topic => own.encrypt(topic, 'x').properties?.userProperties?.['e2e-key'] as string)
  }
  t.strictSame(keysOf(filters), ['a/b', 'a/+', 'a/#', '+/b', '#', 'a/b/#', 'a/+/c', '+/+/c'])
  fc.assert(fc.property(fc.shuffledSubarray(filters, { minLength: filters.length }), order => keysOf(order).join() === keysOf(filters).join()))
  t.strictSame(['#', '+', 'a'].sort(bySpecificity), ['a', '+', '#'])
  t.strictSame(['a.b/+', '#', 'a/#', '+/x'].map(filter => ['a.b/c', 'aXb/c', '$SYS/x', 'a', 'a/'].filter(topic => expressionOf(filter).test(topic))),
    [['a.b/c'], ['a.b/c', 'aXb/c', 'a', 'a/'], ['a', 'a/'], []])
  t.end()
})

t.test('keys and filters that are wrong are refused at once, without the key in the error', t => {
  const good = k1.key
  const cases: unknown[] = [
    [{ filter: 'a#', keys: [k1] }], [{ filter: '', keys: [k1] }], [{ filter: '$share/g/a', keys: [k1] }], [{ filter: 'a', keys: [] }], [{ filter: 'a' }],
    [{ filter: 'a', plain: false }], [{ filter: 'a', plain: true, keys: [k1] }], [{ filter: 'a', keys: [{ id: '', key: good }] }], [{ filter: 'a', keys: [{ id: 'é'.repeat(128), key: good }] }],
    [{ filter: 'a', keys: [{ id: 'x', key: good.subarray(1) }] }], [{ filter: 'a', keys: [{ id: 'x', key: good.toString('hex') }] }], [{ filter: 'a', keys: [k1, k1] }],
    [{ filter: 'a', keys: [{ ...k1, notAfter: NaN }] }], [{ filter: 'a', keys: [k1] }, { filter: 'a', keys: [k2] }],
  ]
  for (const entries of cases) {
    t.throws(() => keyring(entries as KeyringEntry[]), { code: ErrorCode.optionInvalid })
    try { keyring(entries as KeyringEntry[]) } catch (error) { t.notMatch(String(error), good.toString('hex').slice(2, 20)) }
  }
  const own = keyring([{ filter: 'a', keys: [k1] }])
  t.throws(() => { own.replace([{ filter: 'b#', keys: [k2] }]) }, { code: ErrorCode.optionInvalid })
  t.equal(codeOf(() => own.encrypt('a', 'x')), 'none', 'the former keys stay')
  t.end()
})

t.test('whatever is encrypted is decrypted again, in both forms', t => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1 }), fc.constantFrom(...versions), fc.boolean(), fc.string({ minLength: 1 }), (bytes, protocolVersion, envelope, contentType) => {
    const properties = { contentType, payloadFormatIndicator: true, responseTopic: 'plant/answers', correlationData: Buffer.from(bytes), messageExpiryInterval: 7, userProperties: { a: ['b', 'c'] } }
    const sealed = ring.encrypt('plant/1', bytes, { protocolVersion, envelope, properties })
    const content = ring.decrypt('plant/1', sealed.payload, sealed.properties)
    return content.payload.equals(bytes) && JSON.stringify(content.properties?.userProperties) === '{"a":["b","c"]}' && content.properties?.contentType === contentType &&
      content.properties.correlationData?.equals(bytes) === true && content.properties.responseTopic === 'plant/answers' &&
      content.properties.payloadFormatIndicator === true && content.properties.messageExpiryInterval === 7
  }))
  const { payload, properties } = ring.encrypt('plant/1', secret, { properties: { contentType: 'text/secret', payloadFormatIndicator: true, responseTopic: 'plant/hidden' } })
  t.strictSame(Object.keys(properties ?? {}), ['userProperties'], 'nothing about the content is to be seen')
  t.equal(payload.length, 2 + Buffer.byteLength(JSON.stringify({ payloadFormatIndicator: true, contentType: 'text/secret', responseTopic: 'plant/hidden' })) + secret.length + 16)
  t.end()
})

t.test('one bit changed anywhere, or another topic, and it is not decrypted', t => {
  const envelope = ring.encrypt('plant/1', secret, { protocolVersion: 4 }).payload
  for (let bit = 0; bit < envelope.length * 8; bit++) {
    const changed = Buffer.from(envelope)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ 1 << (bit & 7)
    if (codeOf(() => ring.decrypt('plant/1', changed)) === 'none') t.fail(`bit ${bit}`)
  }
  const { payload, properties } = ring.encrypt('plant/1', secret)
  for (let bit = 0; bit < payload.length * 8; bit++) {
    const changed = Buffer.from(payload)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ 1 << (bit & 7)
    if (codeOf(() => ring.decrypt('plant/1', changed, properties)) !== CryptoErrorCode.notAuthentic) t.fail(`bit ${bit}`)
  }
  for (const length of [1, 4, 5, 20, 40, envelope.length - 1]) t.not(codeOf(() => ring.decrypt('plant/1', envelope.subarray(0, length))), 'none')
  t.equal(codeOf(() => ring.decrypt('plant/2', envelope)), CryptoErrorCode.notAuthentic)
  t.equal(codeOf(() => ring.decrypt('plant/2', payload, properties)), CryptoErrorCode.notAuthentic)
  const told = properties?.userProperties ?? {}
  for (const change of [{ 'e2e': '2' }, { 'e2e-nonce': 'AAAA' }, { 'e2e-nonce': ['a', 'b'] }, { 'e2e-key': ['k1', 'k1'] }]) {
    t.equal(codeOf(() => ring.decrypt('plant/1', payload, { userProperties: { ...told, ...change } })), CryptoErrorCode.malformed)
  }
  t.equal(codeOf(() => ring.decrypt('plant/1', payload, { userProperties: { ...told, 'e2e-key': 'k9' } })), CryptoErrorCode.keyUnknown)
  t.equal(codeOf(() => ring.decrypt('plant/1', Buffer.from(secret))), CryptoErrorCode.notEncrypted, 'a downgrade')
  t.equal(codeOf(() => ring.decrypt('elsewhere', payload, properties)), CryptoErrorCode.keyMissing)
  t.equal(codeOf(() => ring.encrypt('elsewhere', secret)), CryptoErrorCode.keyMissing)
  t.end()
})

t.test('no two messages are alike, and a key of the same id that is another one opens none', t => {
  const all = new Set(Array.from({ length: 1000 }, () => ring.encrypt('plant/1', secret).payload.toString('hex')))
  t.equal(all.size, 1000)
  const other = keyring([{ filter: 'plant/#', keys: [{ id: 'k1', key: k2.key }] }])
  t.equal(codeOf(() => other.decrypt('plant/1', ring.encrypt('plant/1', secret, { protocolVersion: 4 }).payload)), CryptoErrorCode.notAuthentic)
  t.notMatch(JSON.stringify(ring), /k1/, 'a keyring shows nothing of itself')
  t.end()
})

t.test('rotation: the first key encrypts, all decrypt; one that has expired does neither', async t => {
  const clock = new FakeClock()
  const now = clock.now()
  const own = keyring([{ filter: 'a', keys: [{ ...k1, notAfter: now + 1000 }] }], clock)
  const old = own.encrypt('a', secret, { protocolVersion: 4 }).payload
  own.replace([{ filter: 'a', keys: [k2, { ...k1, notAfter: now + 1000 }] }])
  t.match(own.encrypt('a', secret).properties, { userProperties: { 'e2e-key': 'k2' } })
  t.equal(own.decrypt('a', old).payload.toString(), secret)
  await clock.advance(1000)
  t.equal(codeOf(() => own.decrypt('a', old)), CryptoErrorCode.keyExpired)
  own.replace([{ filter: 'a', keys: [{ ...k1, notAfter: now + 1000 }] }])
  t.equal(codeOf(() => own.encrypt('a', secret)), CryptoErrorCode.keyExpired)
})

interface Tapped { readonly broker: Broker, readonly url: string, readonly wire: () => Buffer, readonly seen: Message[] }

/** A broker over TCP of which everything that it reads, writes, shows to hooks and keeps is caught. */
async function start (t: Test, filters: readonly string[] = []): Promise<Tapped> {
  const chunks: Buffer[] = []
  const seen: Message[] = []
  const hooks = { authorizePublish: ({ message }: { message: Message }) => { seen.push(message); return true } }
  const plugins = filters.length === 0 ? [] : [requireEncryption({ filters })]
  const broker = await networkBroker(t, { hooks, plugins, persistence: memoryStore() })
  const server = createServer((socket: Socket) => {
    socket.on('data', chunk => { chunks.push(chunk) })
    const write = socket.write.bind(socket)
    socket.write = (chunk: Buffer) => { chunks.push(Buffer.from(chunk)); return write(chunk) }
    broker.handle(socket)
  })
  return { broker, url: `mqtt://127.0.0.1:${await listen(t, server)}`, wire: () => Buffer.concat(chunks), seen }
}

interface Secure { readonly own: EncryptedClient, readonly real: RealClient, next (): Promise<[topic: string, text: string, packet: IPublishPacket]>, failed (): Promise<string> }

async function secure (t: Test, url: string, options: IClientOptions, keys = ring, envelope = false): Promise<Secure> {
  const client = mqtt.connect(url, { reconnectPeriod: 0, ...options })
  const own = encrypted(client, keys, { envelope })
  const real = await connected(t, client)
  const told: [string, string, IPublishPacket][] = []
  const failures: string[] = []
  const wakes: (() => void)[] = []
  own.on('message', (topic, payload, packet) => { told.push([topic, payload.toString(), packet]); wakes.pop()?.() })
  own.on('decryptError', error => { failures.push(error.code); wakes.pop()?.() })
  const take = async <T>(from: T[]): Promise<T> => {
    for (;;) {
      const first = from.shift()
      if (first !== undefined) return first
      await new Promise<void>(resolve => { wakes.push(resolve) })
    }
  }
  return { own, real, next: () => take(told), failed: () => take(failures) }
}

for (const from of versions) {
  for (const to of versions) {
    t.test(`the broker sees no plain text, and the subscriber all of it: ${from} to ${to}`, async t => {
      const { broker, url, wire, seen } = await start(t, ['plant/#'])
      const envelope = from === 5 && to === 4
      const publisher = await secure(t, url, { protocolVersion: from }, ring, envelope)
      const properties = from === 5 ? { properties: { contentType: 'text/secret', responseTopic: 'plant/secret/answers', correlationData: Buffer.from('secret id') } } : {}
      await publisher.own.publishAsync('plant/1', secret, { qos: 1, retain: true, ...properties })
      const subscriber = await secure(t, url, { protocolVersion: to })
      await subscriber.own.client.subscribeAsync('plant/#', { qos: 2 })
      const retained = await subscriber.next()
      t.match(retained.slice(0, 2), ['plant/1', secret])
      t.equal(retained[2].retain, true)
      t.equal(retained[2].payload.toString(), secret)
      for (const qos of [0, 1, 2] as const) await publisher.own.publishAsync('plant/1', secret, { qos, ...properties })
      for (let i = 0; i < 3; i++) {
        const [topic, text, packet] = await subscriber.next()
        t.strictSame([topic, text], ['plant/1', secret])
        if (from === 5 && to === 5) t.match(packet.properties, { contentType: 'text/secret', responseTopic: 'plant/secret/answers', correlationData: Buffer.from('secret id') })
      }
      for (const part of [secret, 'reactor', '4711', 'secret', Buffer.from('secret id').toString('base64')]) {
        t.equal(wire().includes(part), false, `${part} on the wire`)
        t.notOk(seen.some(({ payload, encodedProperties }) => payload.includes(part) || encodedProperties.includes(part)), `${part} in hooks`)
      }
      t.ok(wire().includes('plant/1'), 'the tap does see what is there')
      for await (const message of broker.subscribe('plant/1')) {
        t.equal(message.payload.includes('reactor'), false, 'nor what is retained')
        break
      }
      await publisher.own.publishAsync('plant/1', '', { retain: true, qos: 1 })
      t.strictSame((await subscriber.next()).slice(0, 2), ['plant/1', ''])
      await subscriber.own.client.subscribeAsync('plant/1', { qos: 1 })
      await publisher.own.publishAsync('plant/1', 'after', { qos: 1 })
      t.equal((await subscriber.next())[1], 'after', 'an empty payload stays empty, and removes the retained message')
    })
  }
}

t.test('the Will Message is encrypted, too', async t => {
  for (const protocolVersion of versions) {
    const { url, wire } = await start(t, ['plant/#'])
    const subscriber = await secure(t, url, { protocolVersion })
    await subscriber.own.client.subscribeAsync('plant/#')
    const will = { topic: 'plant/gone', payload: Buffer.from(secret), qos: 1 as const, retain: false, ...(protocolVersion === 5 ? { properties: { willDelayInterval: 0, contentType: 'text/secret' } } : {}) }
    const dying = await secure(t, url, withEncryptedWill({ protocolVersion, will }, ring))
    dying.real.vanish()
    const [topic, text, packet] = await subscriber.next()
    t.strictSame([topic, text], ['plant/gone', secret])
    if (protocolVersion === 5) t.equal(packet.properties?.contentType, 'text/secret')
    t.equal(wire().includes('reactor') || wire().includes('text/secret'), false)
    t.strictSame(withEncryptedWill({ protocolVersion }, ring), { protocolVersion }, 'without a Will nothing changes')
    t.throws(() => withEncryptedWill({ will: { ...will, topic: 'elsewhere' } }, ring), { code: CryptoErrorCode.keyMissing })
  }
})

t.test('what is not encrypted, altered, moved or from a stranger is not delivered, and told', async t => {
  const { broker, url } = await start(t)
  const subscriber = await secure(t, url, { protocolVersion: 5 })
  await subscriber.own.client.subscribeAsync(['plant/#', 'news/#', 'elsewhere'])
  const sealed = ring.encrypt('plant/1', secret, { protocolVersion: 4 }).payload
  const altered = Buffer.from(sealed)
  altered[altered.length - 20] = (altered[altered.length - 20] ?? 0) ^ 1
  const stranger = keyring([{ filter: '#', keys: [{ id: 'k1', key: k2.key }] }])
  const cases: [topic: string, payload: string | Buffer, code: string][] = [
    ['plant/1', 'open the valve', CryptoErrorCode.notEncrypted], ['plant/1', altered, CryptoErrorCode.notAuthentic], ['plant/2', sealed, CryptoErrorCode.notAuthentic],
    ['plant/1', stranger.encrypt('plant/1', 'x', { protocolVersion: 4 }).payload, CryptoErrorCode.notAuthentic], ['elsewhere', 'x', CryptoErrorCode.keyMissing],
  ]
  for (const [topic, payload, code] of cases) {
    await broker.publish(topic, payload)
    t.equal(await subscriber.failed(), code)
  }
  await broker.publish('news/today', 'for everybody')
  await broker.publish('plant/1', sealed)
  t.strictSame((await subscriber.next()).slice(0, 2), ['news/today', 'for everybody'])
  t.strictSame((await subscriber.next()).slice(0, 2), ['plant/1', secret], 'nothing else was delivered')
  await t.rejects(subscriber.own.publishAsync('elsewhere', secret), { code: CryptoErrorCode.keyMissing }, 'nothing goes out in the clear by accident')
  await subscriber.own.publishAsync('news/now', 'plain')
  t.strictSame((await subscriber.next()).slice(0, 2), ['news/now', 'plain'])
})

t.test('keys are rotated while both ends run: not a message is lost', async t => {
  const { url } = await start(t)
  const ends = [keyring([{ filter: 'a', keys: [k1] }]), keyring([{ filter: 'a', keys: [k1] }])] as const
  const publisher = await secure(t, url, { protocolVersion: 5 }, ends[0])
  const subscriber = await secure(t, url, { protocolVersion: 5 }, ends[1])
  await subscriber.own.client.subscribeAsync('a', { qos: 1 })
  const rounds: [end: 0 | 1, keys: typeof k1[]][] = [[1, [k1, k2]], [0, [k2, k1]], [0, [k2]], [1, [k2]]]
  for (const [index, [end, keys]] of rounds.entries()) {
    ends[end].replace([{ filter: 'a', keys }])
    await publisher.own.publishAsync('a', String(index), { qos: 1 })
    t.equal((await subscriber.next())[1], String(index))
  }
})

t.test('requireEncryption refuses what is not encrypted with Payload format invalid (0x99), Wills too', async t => {
  for (const options of [{ filters: [] }, { filters: ['a#'] }, { filter: ['a'] }, { filters: 'a' }]) t.throws(() => requireEncryption(options as never), { code: ErrorCode.optionInvalid })
  const { url, seen } = await start(t, ['plant/#', 'lab/+'])
  const plain = await connected(t, mqtt.connect(url, { protocolVersion: 5, reconnectPeriod: 0 }))
  await t.rejects(plain.mqtt.publishAsync('plant/1', 'x', { qos: 1 }), { code: 0x99 })
  await t.rejects(plain.mqtt.publishAsync('lab/1', 'x', { qos: 2 }), { code: 0x99 })
  await t.resolves(plain.mqtt.publishAsync('lab/1/2', 'x', { qos: 1 }))
  await t.resolves(plain.mqtt.publishAsync('plant/1', '', { qos: 1, retain: true }), 'removes a retained message')
  const will = { topic: 'plant/1', payload: Buffer.from('x'), qos: 0 as const, retain: false }
  await t.rejects(connected(t, mqtt.connect(url, { protocolVersion: 5, reconnectPeriod: 0, will })), { code: 0x99 })
  const own = await secure(t, url, { protocolVersion: 5 })
  await t.resolves(own.own.publishAsync('plant/1', secret, { qos: 1 }))
  t.ok(seen.length > 0)
})
