import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect as connectSocket, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import fc from 'fast-check'
import type { ClientInfo, Message, QoS, Subscription } from '../lib/index.ts'
import { topicMatches } from '../lib/topic/topic-filter.ts'
import { FilterTree, levelsOf } from '../plugins/acl/filter-tree.ts'
import { mosquittoAcl, type AccessRule, type Action } from '../plugins/acl/index.ts'
import { groupsOfClaim } from '../plugins/acl/identity.ts'
import { RuleSet } from '../plugins/acl/rule-set.ts'
import { parseRules } from '../plugins/acl/rule.ts'
import { dial, listen, networkBroker, type RealClient } from './support/network/network.ts'

t.setTimeout(120_000)

const names = ['a', 'b', '', '$s', '$t']
/** Every text of up to four levels, `b` and `$t` standing for names that a filter has not. */
const texts: readonly string[] = [1, 2, 3, 4].flatMap(depth => combinations(depth))
const topics = texts.filter(topic => topic !== '')
const filter = fc.array(fc.constantFrom('a', 'b', '', '$s', '+', '#'), { minLength: 1, maxLength: 3 })
  .map(levels => (levels.includes('#') ? levels.slice(0, levels.indexOf('#') + 1) : levels).join('/'))
  .filter(text => text !== '')

function combinations (depth: number): string[] {
  return depth === 0 ? [] : depth === 1 ? names : combinations(depth - 1).flatMap(topic => names.map(name => `${topic}/${name}`))
}

t.test('law: which filter contains another, and which meets it, agrees with trying every topic', t => {
  fc.assert(fc.property(filter, filter, (rule, asked) => {
    const tree = new FilterTree()
    tree.add(levelsOf(rule), 0)
    const matched = texts.filter(topic => topicMatches(asked, topic))
    same(tree.covering(levelsOf(asked)) === 0, matched.every(topic => topicMatches(rule, topic)), `${rule} contains ${asked}`)
    same(tree.meeting(levelsOf(asked)) === 0, matched.some(topic => topicMatches(rule, topic)), `${rule} meets ${asked}`)
  }), { numRuns: 400 })
  t.pass()
  t.end()
})

t.test('law: of many filters the one with the lowest number is found', t => {
  fc.assert(fc.property(fc.array(filter, { maxLength: 20 }), filter, fc.nat(20), (rules, asked, best) => {
    const alone = (name: 'covering' | 'meeting'): number => Math.min(best, ...rules.map((rule, number) => {
      const tree = new FilterTree()
      tree.add(levelsOf(rule), number)
      return tree[name](levelsOf(asked))
    }))
    const tree = new FilterTree()
    for (const [number, rule] of [...rules.entries()].reverse()) tree.add(levelsOf(rule), number)
    same(tree.covering(levelsOf(asked), best), alone('covering'), `containing ${asked}`)
    same(tree.meeting(levelsOf(asked), best), alone('meeting'), `meeting ${asked}`)
  }))
  t.pass()
  t.end()
})

/** Throws, so that the smallest example of what is wrong is looked for. */
function same (got: unknown, wanted: unknown, what: string): void {
  if (got !== wanted) throw new Error(`${what}: ${String(got)} where it should be ${String(wanted)}`)
}

const some = <T>(...values: T[]): fc.Arbitrary<T[]> => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1 })
const conditions = fc.record({
  users: some<string | null>('ada', 'grace', null), clients: some('c1', 'c2'), groups: some('g1', 'g2'), listeners: some('inside', 'outside'),
}, { requiredKeys: [], noNullPrototype: true })
const rule: fc.Arbitrary<AccessRule> = fc.record({
  kind: fc.constantFrom('allow', 'deny'), actions: some<Action>('publish', 'subscribe'), topics: fc.array(filter, { minLength: 1, maxLength: 2 }), conditions,
  qos: fc.option(some<QoS>(0, 1, 2), { nil: undefined, freq: 5 }),
}).map(({ kind, actions, topics, conditions, qos }) => ({ [kind]: actions, topics, ...conditions, ...qos !== undefined && { qos } }) as unknown as AccessRule)
const client = fc.record({
  username: fc.constantFrom(undefined, 'ada', 'grace'), clientIdentifier: fc.constantFrom('c1', 'c2', 'c3'), groups: fc.subarray(['g1', 'g2']), listener: fc.constantFrom(undefined, 'inside', 'outside'),
}).map(({ username, clientIdentifier, groups, listener }) => ({ username, clientIdentifier, claims: { groups }, connection: { listener } }) as unknown as ClientInfo)

function ruleSet (rules: readonly AccessRule[], cacheSize = 2): RuleSet {
  const fail = (field: string): never => { throw new Error(field) }
  const complain = Object.assign(fail, { unknown: fail })
  return new RuleSet(parseRules(rules, complain), { publish: false, subscribe: false, deliver: true }, groupsOfClaim, { cacheSize, maximumFilters: 10 })
}

/** The rules read one after the other, by the letter. */
function firstMatch (rules: readonly AccessRule[], action: Action, { username, clientIdentifier, claims, connection: { listener } }: ClientInfo, topicName: string, qos: QoS): boolean {
  const isIn = (list: unknown, value: unknown): boolean => list === undefined || (list as unknown[]).includes(value)
  const first = rules.find(rule => isIn(rule.allow ?? rule.deny, action) && isIn(rule.users, username ?? null) && isIn(rule.clients, clientIdentifier) && isIn(rule.qos, qos) &&
    isIn(rule.listeners, listener) && (rule.groups === undefined || (claims['groups'] as string[]).some(group => isIn(rule.groups, group))) &&
    (rule.topics as string[]).some(topic => topicMatches(topic, topicName)))
  return first?.allow !== undefined
}

t.test('law: a verdict, remembered or not, is that of the first rule that matches', t => {
  const question = fc.record({ topicName: fc.constantFrom(...topics.slice(0, 30)), qos: fc.constantFrom<QoS>(0, 1, 2), retain: fc.boolean() })
  fc.assert(fc.property(fc.array(rule, { maxLength: 12 }), client, fc.array(question, { maxLength: 30 }), (rules, client, questions) => {
    const rights = ruleSet(rules).rightsOf(client)
    for (const { topicName, qos, retain } of questions) {
      same(rights.mayPublish(topicName, { qos, retain } as unknown as Message), firstMatch(rules, 'publish', client, topicName, qos), topicName)
    }
  }))
  t.pass()
  t.end()
})

t.test('law: whoever may subscribe to a filter may subscribe to each topic that it matches', t => {
  let allowed = 0
  fc.assert(fc.property(fc.array(rule, { maxLength: 12 }), client, filter, fc.constantFrom<QoS>(0, 1), (rules, client, asked, qos) => {
    const rights = ruleSet(rules).rightsOf(client)
    const subscription = { qos } as Subscription
    if (!topics.includes(asked)) {
      if (!rights.maySubscribe(asked, subscription)) return
      allowed++
    }
    for (const topic of topics) {
      if (!topicMatches(asked, topic)) continue
      const isAllowed = firstMatch(rules, 'subscribe', client, topic, qos)
      if (topics.includes(asked)) same(rights.maySubscribe(asked, subscription), isAllowed, asked)
      else same(isAllowed, true, `${asked} reaches ${topic}`)
    }
  }), { numRuns: 1500 })
  t.ok(allowed > 10, 'some filters with wildcards were allowed')
  t.end()
})

// From here on: beside the real thing.

interface Side { readonly port: number, readonly observer: RealClient }
interface Person { readonly username: string | undefined, readonly clientId: string }

const people: readonly Person[] = [
  { username: undefined, clientId: 'c1' }, { username: 'ada', clientId: 'c2' }, { username: 'grace', clientId: 'ada' }, { username: 'a+b', clientId: 'c1' },
  { username: 'ada', clientId: '#' }, { username: 'eve', clientId: 'c3' }, { username: 'a', clientId: '%u' },
]
const places = ['a', 'a/x', 'a/c1', 'c1/a', 'ada/a', 'a/ada', 'c2/ada', 'grace', 'x y', '$s/a', '$s', 'a/x/y', 'c1', '%c/a', 'dev_c1/a']
const fixed = fc.constantFrom('a', 'a/#', '#', '+/a', 'a/+', '+', 'grace', 'x y', '$s/#', 'a/x/#', '+/+/y', '%c/a', '/a')
const filled = fc.constantFrom('%c/a', 'a/%c', '%u/#', 'a/%u', '%c/%u', '+/%u', 'dev_%c/a', 'a', '#')
const kind = fc.constantFrom('', 'read ', 'write ', 'readwrite ', 'deny ')
const line = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(kind, fixed).filter(([access, topic]) => access !== '' || !topic.includes(' ')).map(([access, topic]) => `topic ${access}${topic}`) },
  // Denying patterns with %u are told apart below: Mosquitto leaves them out for Clients without a User Name.
  { weight: 3, arbitrary: fc.tuple(kind, filled).filter(([access, topic]) => access !== 'deny ' || !topic.includes('%u')).map(([access, topic]) => `pattern ${access}${topic}`) },
  { weight: 2, arbitrary: fc.constantFrom('user ada', 'user grace', 'user a+b', 'user  ada ', 'user a') },
  { weight: 1, arbitrary: fc.constantFrom('', '# comment', '#topic #', '  topic  read   a/x', 'topic write a/x  ') },
)

/** Mosquitto with that acl_file; everybody who is in the password file has the password `secret`. */
async function startMosquitto (t: Test, folder: string): Promise<number> {
  const reserved = createServer().listen(0, '127.0.0.1')
  await once(reserved, 'listening')
  const { port } = reserved.address() as AddressInfo
  reserved.close()
  await once(reserved, 'close')
  writeFileSync(join(folder, 'conf'), `listener ${port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence false\npassword_file ${join(folder, 'passwords')}\nacl_file ${join(folder, 'acl')}\n`)
  const child = spawn('mosquitto', ['-c', join(folder, 'conf')], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` } })
  const ended = once(child, 'exit')
  t.teardown(() => { child.kill('SIGKILL') })
  const isUp = async (): Promise<boolean> => {
    const socket = connectSocket(port, '127.0.0.1')
    const result = await Promise.race([once(socket, 'connect').then(() => true, () => false), ended.then(() => { throw new Error('mosquitto did not start') })])
    socket.destroy()
    return result
  }
  while (!await isUp());
  return port
}

async function startMyelin (t: Test, folder: string): Promise<number> {
  const authenticate = ({ username, password }: { username: string | undefined, password: Buffer | undefined }): boolean => username === undefined || password?.toString() === 'secret'
  const broker = await networkBroker(t, { hooks: { authenticate }, plugins: [mosquittoAcl({ path: join(folder, 'acl') })] })
  return listen(t, createServer(broker.handle))
}

function come (t: Test, port: number, { username, clientId }: Person): Promise<RealClient> {
  return dial(t, `mqtt://127.0.0.1:${port}`, { clientId, protocolVersion: 4, ...username !== undefined && { username, password: 'secret' } })
}

/** What a person gets through to the observer, and gets from it: `> a` and `< a`. */
async function outcome (t: Test, { port, observer }: Side, person: Person): Promise<string[]> {
  const client = await come(t, port, person)
  await client.mqtt.subscribeAsync(['#', '$s/#', '$share/g/#'])
  const seen: string[] = []
  await Promise.all(places.map(place => client.mqtt.publishAsync(place, '', { qos: 1 })))
  await observer.mqtt.subscribeAsync('barrier') // what was routed before comes before its answer
  while (observer.unread > 0) seen.push(`> ${(await observer.message()).topic}`)
  await client.mqtt.subscribeAsync('barrier')
  while (client.unread > 0) await client.message()
  await Promise.all(places.map(place => observer.mqtt.publishAsync(place, '', { qos: 1 })))
  await client.mqtt.subscribeAsync('barrier')
  while (client.unread > 0) seen.push(`< ${(await client.message()).topic}`)
  await client.mqtt.endAsync()
  await observer.mqtt.subscribeAsync('barrier')
  while (observer.unread > 0) await observer.message()
  return [...new Set(seen)].sort()
}

/** A password file as `mosquitto_passwd` hashes it in place. */
function makePasswords (t: Test): string {
  const path = join(t.testdir({ passwords: ['ada', 'grace', 'a+b', 'eve', 'a', 'observer'].map(name => `${name}:secret\n`).join('') }), 'passwords')
  const { status } = spawnSync('mosquitto_passwd', ['-U', path])
  if (status !== 0) throw new Error('mosquitto_passwd failed')
  return readFileSync(path, 'utf8')
}

const passwords = makePasswords(t)

async function sides (t: Test, acl: string): Promise<Side[]> {
  const folder = t.testdir({ acl: `${acl}\nuser observer\ntopic readwrite #\ntopic readwrite $s/#\n`, passwords })
  const start = async (port: number): Promise<Side> => {
    const observer = await come(t, port, { username: 'observer', clientId: 'observer' })
    await observer.mqtt.subscribeAsync(['#', '$s/#'])
    return { port, observer }
  }
  return [await start(await startMosquitto(t, folder)), await start(await startMyelin(t, folder))]
}

t.test('law: an acl_file lets through what it does in Mosquitto, no more and no less', async t => {
  for (const [number, lines] of fc.sample(fc.array(line, { minLength: 1, maxLength: 12 }), 8).entries()) {
    await t.test(`file ${number}`, async t => {
      t.comment(lines.join('; '))
      const [theirs, ours] = await sides(t, lines.join('\n'))
      if (theirs === undefined || ours === undefined) throw new Error('not started')
      for (const person of people) {
        t.strictSame(await outcome(t, ours, person), await outcome(t, theirs, person), `${person.username ?? 'anonymous'} as ${person.clientId}`)
      }
    })
  }
})

t.test('where Mosquitto is more generous: a name with / in it, and a denying pattern that cannot be filled in', async t => {
  const [theirs, ours] = await sides(t, 'pattern deny private/%u\ntopic readwrite private/#\npattern write in/%c/x\npattern read private/#')
  if (theirs === undefined || ours === undefined) throw new Error('not started')
  const person = { username: undefined, clientId: 'some/body' }
  const got = async (side: Side): Promise<string[]> => {
    const client = await come(t, side.port, person)
    await client.mqtt.publishAsync('in/some/body/x', '', { qos: 1 })
    await side.observer.mqtt.subscribeAsync('barrier')
    return side.observer.unread > 0 ? [(await side.observer.message()).topic] : []
  }
  t.strictSame(await got(theirs), ['in/some/body/x'])
  t.strictSame(await got(ours), [])
})
