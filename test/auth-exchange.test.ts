import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import t, { type Test } from 'tap'
import { ReasonCode, type AuthenticationMethod, type Hooks } from '../lib/index.ts'
import { PacketType, type AuthPacket, type ConnectPacket, type Packet, type Properties } from '../lib/packet/packets.ts'
import { deriveScramCredentials, scramSha256 } from '../plugins/scram/index.ts'
import { exactly, will } from './support/exchanges.ts'
import { connect, connectPacket, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'

interface Data { readonly role: string }

/** Two steps: "hello" is answered with "who?", a name ends it. Some names make trouble. */
const toy: AuthenticationMethod<Data> = {
  name: 'TOY',
  start: ({ client }) => {
    let step = 0
    return {
      async next (data) {
        await settled()
        const text = data?.toString()
        if (text === 'boom') throw new Error('on purpose')
        if (text === 'banned') return { allow: false, reasonCode: ReasonCode.banned, reasonString: 'you again' }
        if (step++ === 0) return text === 'hello' ? { continue: Buffer.from('who?') } : { allow: false }
        return { allow: true, username: text ?? 'nobody', data: { role: client === undefined ? 'new' : 'again' }, authenticationData: Buffer.from('welcome') }
      },
    }
  },
}

function start (t: Test, hooks: Hooks<Data> = {}, methods: readonly AuthenticationMethod<Data>[] = [toy]): Promise<TestBroker<Data>> {
  return startBroker<Data>(t, { authenticationMethods: methods, hooks })
}

function dataOf (text: string | undefined, authenticationMethod = 'TOY'): Properties {
  return text === undefined ? { authenticationMethod } : { authenticationMethod, authenticationData: Buffer.from(text) }
}

function auth (text: string | undefined, reasonCode: ReasonCode = ReasonCode.continueAuthentication, method?: string): AuthPacket {
  return { type: PacketType.auth, reasonCode, properties: dataOf(text, method) }
}

/** A Client that has sent its CONNECT. */
function begin ({ broker }: TestBroker<Data>, properties: Properties | undefined = dataOf('hello'), fields: Partial<ConnectPacket> = {}): PacketClient {
  return new PacketClient(broker, 5).send(connectPacket({ properties, ...fields }))
}

/** Everything until nothing more comes; the toy takes its time. */
async function all (client: PacketClient): Promise<Packet[]> {
  const packets = await client.take()
  for (let i = 0; i < 4; i++) packets.push(...await client.take())
  return packets
}

/** A Client that the toy has let in. */
async function enter (test: TestBroker<Data>, name = 'ann'): Promise<PacketClient> {
  const client = begin(test)
  await all(client)
  client.send(auth(name))
  await all(client)
  return client
}

const disconnect = (reasonCode: ReasonCode): object[] => [{ type: PacketType.disconnect, reasonCode }]
const refused = (reasonCode: ReasonCode): object[] => [{ type: PacketType.connack, reasonCode, sessionPresent: false }]
const asked = [{ type: PacketType.auth, reasonCode: ReasonCode.continueAuthentication, properties: dataOf('who?') }]

t.test('an exchange: CONNECT, AUTH 0x18 both ways, CONNACK, all with the same method [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.15.2-1]', async t => {
  const connected: unknown[] = []
  const test = await start(t, { connected: ({ client }) => { connected.push([client.username, client.data.role]) } })
  const client = begin(test)
  exactly(t, await all(client), asked, 'nothing but AUTH comes before CONNACK [MQTT-3.2.0-1]')
  t.strictSame(connected, [])
  client.send(auth('ann'), { type: PacketType.pingreq })
  exactly(t, await all(client), [{ type: PacketType.connack, reasonCode: 0, properties: dataOf('welcome') }, { type: PacketType.pingresp }])
  t.strictSame(connected, [['ann', 'new']])
})

t.test('a method may be done at once, with or without data', async t => {
  const seen: unknown[] = []
  const quick: AuthenticationMethod<Data> = { name: 'QUICK', start: ({ clientIdentifier, username }) => ({ next: data => { seen.push([clientIdentifier, username, data?.length]); return { allow: true } } }) }
  const test = await start(t, {}, [toy, quick])
  const client = begin(test, { authenticationMethod: 'QUICK', authenticationData: Buffer.alloc(0) }, { username: 'u' })
  t.strictSame((await all(client)).map(packet => packet.type === PacketType.connack && [packet.reasonCode, packet.properties?.authenticationMethod, packet.properties?.authenticationData]), [[0, 'QUICK', undefined]])
  exactly(t, await all(begin(test, dataOf(undefined, 'QUICK'))), [{ type: PacketType.connack, reasonCode: 0 }])
  t.strictSame(seen, [['client', 'u', 0], ['client', undefined, undefined]])
})

t.test('a method that is not there is refused with 0x8C, and the connection closed [MQTT-4.12.0-1]', async t => {
  const client = begin(await start(t), dataOf('hello', 'OTHER'))
  exactly(t, await all(client), refused(ReasonCode.badAuthenticationMethod))
  t.equal(client.isEnded, true)
})

t.test('the broker may refuse at any step: CONNACK with an error, then a close [MQTT-4.12.0-4]', async t => {
  const test = await start(t)
  for (const [first, second, reasonCode] of [
    ['what?', undefined, ReasonCode.notAuthorized], ['banned', undefined, ReasonCode.banned], ['hello', 'banned', ReasonCode.banned],
    ['boom', undefined, ReasonCode.notAuthorized], ['hello', 'boom', ReasonCode.notAuthorized], [undefined, undefined, ReasonCode.notAuthorized],
  ] as const) {
    const client = begin(test, dataOf(first))
    if (second !== undefined) {
      await all(client)
      client.send(auth(second))
    }
    exactly(t, await all(client), refused(reasonCode), `${first ?? '-'} ${second ?? '-'}`)
    t.equal(client.isEnded, true)
  }
  t.equal([...test.broker.clients()].length, 0)
})

t.test('a CONNECT without a method gets neither AUTH nor a method in CONNACK [MQTT-4.12.0-6]', async t => {
  const test = await start(t, { authenticate: () => true })
  const [, connack] = await connect(test)
  t.equal(connack.properties?.authenticationMethod, undefined)
  t.equal(connack.properties?.authenticationData, undefined)
})

t.test('where only methods are configured a CONNECT without one is refused', async t => {
  const test = await start(t)
  exactly(t, await all(begin(test, {})), refused(ReasonCode.notAuthorized))
  exactly(t, await all(new PacketClient(test.broker, 4).send(connectPacket({ protocolVersion: 4, username: 'u' }))), refused(ReasonCode.badUserNameOrPassword))
})

for (const reasonCode of [ReasonCode.success, ReasonCode.continueAuthentication, ReasonCode.reAuthenticate] as const) {
  t.test(`AUTH 0x${reasonCode.toString(16)} from a Client that named no method is a Protocol Error [MQTT-4.12.0-7]`, async t => {
    const [client] = await connect(await start(t, { authenticate: () => true }))
    exactly(t, await all(client.send(auth('x', reasonCode))), disconnect(ReasonCode.protocolError))
    t.equal(client.isEnded, true)
  })
}

t.test('while it authenticates a Client may send AUTH and DISCONNECT only [MQTT-3.1.2-30] [MQTT-3.1.4-6]', async t => {
  const published: string[] = []
  const test = await start(t, { published: ({ message }) => { published.push(message.topicName) } })
  const impatient = begin(test)
  await all(impatient)
  exactly(t, await all(impatient.publish('a', 'x')), refused(ReasonCode.protocolError))
  const again = begin(test)
  await all(again)
  exactly(t, await all(again.send(connectPacket({ properties: dataOf('hello') }))), refused(ReasonCode.protocolError))
  const leaving = begin(test, undefined, { will: will() })
  await all(leaving)
  t.strictSame(await all(leaving.disconnect()), [])
  t.strictSame([impatient, again, leaving].map(({ isEnded }) => isEnded), [true, true, true])
  t.strictSame(published, [])
})

t.test('an AUTH that does not fit ends the exchange: another method, none, or Reason Code 0x19 or 0x00 [MQTT-4.12.0-5] [MQTT-4.12.0-3]', async t => {
  const test = await start(t)
  for (const packet of [
    auth('ann', ReasonCode.continueAuthentication, 'OTHER'), auth('ann', ReasonCode.reAuthenticate), auth('ann', ReasonCode.success),
    { type: PacketType.auth, reasonCode: ReasonCode.continueAuthentication, properties: undefined },
  ] as const) {
    const client = begin(test)
    await all(client)
    exactly(t, await all(client.send(packet)), refused(ReasonCode.protocolError))
    t.equal(client.isEnded, true)
  }
})

t.test('AUTH packets that come too early wait for the step before', async t => {
  const client = begin(await start(t)).send(auth('ann'))
  exactly(t, await all(client), [...asked, { type: PacketType.connack, reasonCode: 0 }])
})

t.test('an exchange has to be over within connectTimeoutMs, and a Client that goes leaves nothing', async t => {
  const test = await start(t)
  const silent = begin(test)
  await all(silent)
  await test.clock.advance(10_500)
  await all(silent)
  t.equal(silent.isEnded, true)
  await test.clock.advance(6_000)
  const gone = begin(test)
  await gone.vanish()
  await settled()
  t.equal(test.broker.metrics.connections, 0)
})

t.test('authenticating anew: AUTH 0x19, as many 0x18 as it takes, AUTH 0x00; other packets go on [MQTT-4.12.1-1] [MQTT-3.15.2-1]', async t => {
  const users: unknown[] = []
  const test = await start(t, { authorizePublish: ({ client }) => { users.push([client.username, client.data.role]); return true } })
  const client = await enter(test)
  client.publish('a', 'x').send(auth('hello', ReasonCode.reAuthenticate))
  exactly(t, await all(client), asked)
  client.publish('a', 'x').send({ type: PacketType.pingreq })
  exactly(t, await all(client), [{ type: PacketType.pingresp }])
  client.send(auth('bob'))
  exactly(t, await all(client), [{ type: PacketType.auth, reasonCode: ReasonCode.success, properties: dataOf('welcome') }])
  client.publish('a', 'x')
  await all(client)
  t.strictSame(users, [['ann', 'new'], ['ann', 'new'], ['bob', 'again']])
  exactly(t, await all(client.send(auth('hello', ReasonCode.reAuthenticate))), asked, 'and once more')
})

t.test('authenticating anew and failing ends the connection: DISCONNECT, Session and Will Message as with any error, with a Reason Code that DISCONNECT may have [MQTT-4.12.1-2] [MQTT-3.14.2-1]', async t => {
  for (const [text, reasonCode] of [['banned', ReasonCode.unspecifiedError], ['what?', ReasonCode.notAuthorized], ['boom', ReasonCode.notAuthorized]] as const) {
    const client = await enter(await start(t))
    exactly(t, await all(client.send(auth(text, ReasonCode.reAuthenticate))), disconnect(reasonCode))
    t.equal(client.isEnded, true)
  }
})

t.test('authenticating anew with another method, or an AUTH nobody asked for, is a Protocol Error [MQTT-4.12.1-1] [MQTT-4.12.0-5]', async t => {
  const test = await start(t, {}, [toy, { ...toy, name: 'TOY2' }])
  for (const packet of [auth('hello', ReasonCode.reAuthenticate, 'TOY2'), auth('hello'), auth('hello', ReasonCode.success)]) {
    const client = await enter(test)
    exactly(t, await all(client.send(packet)), disconnect(ReasonCode.protocolError))
    t.equal(client.isEnded, true)
  }
})

t.test('a name or data of the method stand behind authorization of the Will Message', async t => {
  const asked: unknown[] = []
  const test = await start(t, { authorizePublish: ({ client, isWill }) => { asked.push([client.username, isWill]); return client.username === 'ann' } })
  for (const [name, expected] of [['ann', 0], ['bob', ReasonCode.notAuthorized]] as const) {
    const client = begin(test, undefined, { will: will() })
    await all(client)
    exactly(t, await all(client.send(auth(name))), [{ type: PacketType.connack, reasonCode: expected }])
  }
  t.strictSame(asked, [['ann', true], ['bob', true]])
})

// --- SCRAM-SHA-256 on the wire

const scram = 'SCRAM-SHA-256'

/** client-final for a server-first, and what the broker has to answer (RFC 5802 section 3). */
function proof (password: string, bare: string, serverFirst: string): { final: string, serverFinal: string } {
  const [, nonce = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? []
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
  const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
  const withoutProof = `c=biws,r=${nonce}`
  const authMessage = `${bare},${serverFirst},${withoutProof}`
  const clientKey = hmac(salted, 'Client Key')
  const signature = hmac(createHash('sha256').update(clientKey).digest(), authMessage)
  const p = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('base64')
  return { final: `${withoutProof},p=${p}`, serverFinal: `v=${hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')}` }
}

/** Goes through one login; the last answers and what the broker should have proved. */
async function login (client: PacketClient, first: (text: string) => Packet, user: string, password: string): Promise<{ answers: Packet[], serverFinal: string }> {
  const bare = `n=${user},r=clientnonce`
  const [challenge] = await all(client.send(first(`n,,${bare}`)))
  if (challenge?.type !== PacketType.auth) return { answers: challenge === undefined ? [] : [challenge], serverFinal: '' }
  const { final, serverFinal } = proof(password, bare, challenge.properties?.authenticationData?.toString() ?? '')
  return { answers: await all(client.send(auth(final, ReasonCode.continueAuthentication, scram))), serverFinal }
}

t.test('SCRAM-SHA-256 from CONNECT to CONNACK, and anew as the same user only', async t => {
  const credentials = { ...await deriveScramCredentials('pencil', { iterations: 4096 }), data: { role: 'writer' } }
  const test = await start(t, {}, [scramSha256<Data>({ credentials: username => username === 'ann' || username === 'bob' ? credentials : undefined, iterations: 4096 })])
  const first = (text: string): Packet => connectPacket({ properties: dataOf(text, scram) })
  const again = (text: string): Packet => auth(text, ReasonCode.reAuthenticate, scram)

  for (const [user, password] of [['ann', 'wrong'], ['eve', 'pencil']] as const) {
    const stranger = new PacketClient(test.broker, 5)
    exactly(t, (await login(stranger, first, user, password)).answers, refused(ReasonCode.notAuthorized))
    t.equal(stranger.isEnded, true)
  }
  const client = new PacketClient(test.broker, 5)
  const entered = await login(client, first, 'ann', 'pencil')
  exactly(t, entered.answers, [{ type: PacketType.connack, reasonCode: 0, properties: dataOf(entered.serverFinal, scram) }])
  t.strictSame([...test.broker.clients()].map(({ username, data }) => [username, data.role]), [['ann', 'writer']])
  const renewed = await login(client, again, 'ann', 'pencil')
  exactly(t, renewed.answers, [{ type: PacketType.auth, reasonCode: 0, properties: dataOf(renewed.serverFinal, scram) }])
  exactly(t, (await login(client, again, 'bob', 'pencil')).answers, disconnect(ReasonCode.notAuthorized))
  t.equal(client.isEnded, true)
})

t.test('a Client that authenticates anew has new claims and a new time, and keeps its Client Identifier', async t => {
  let round = 0
  const renewing: AuthenticationMethod<Data> = {
    name: 'RENEW',
    start: () => ({ next: () => ({ allow: true, clientIdentifier: `name-${++round}`, claims: { round }, expiresAt: test.clock.now() + 10_000 }) }),
  }
  const test: TestBroker<Data> = await start(t, {}, [renewing])
  const client = begin(test, dataOf(undefined, 'RENEW'))
  await all(client)
  await test.clock.advance(9_000)
  client.send(auth(undefined, ReasonCode.reAuthenticate, 'RENEW'))
  t.match(await all(client), [{ type: PacketType.auth, reasonCode: 0 }])
  await test.clock.advance(9_000)
  t.strictSame([...test.broker.clients()].map(({ clientIdentifier, claims }) => [clientIdentifier, claims]), [['name-1', { round: 2 }]])
  await test.clock.advance(1_500)
  t.match(await all(client), [{ type: PacketType.disconnect, reasonCode: ReasonCode.maximumConnectTime }])
})

t.test('a method that does not answer in time, or throws, refuses; the Client is told Not authorized (section 4.12)', async t => {
  const silent: AuthenticationMethod<Data> = { name: 'SILENT', start: () => ({ next: () => new Promise(() => undefined) }) }
  const test = await start(t, {}, [toy, silent])
  const client = begin(test, dataOf('hello', 'SILENT'))
  t.strictSame(await all(client), [])
  await test.clock.advance(5_000)
  t.match(await all(client), [{ type: PacketType.connack, reasonCode: ReasonCode.notAuthorized }])
  const thrown = begin(test, dataOf('boom'))
  t.match(await all(thrown), [{ type: PacketType.connack, reasonCode: ReasonCode.notAuthorized }])
  t.equal(client.isEnded && thrown.isEnded, true)
})
