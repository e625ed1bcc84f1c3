import t from 'tap'
import { createBroker, ErrorCode, MqttError, type BrokerOptions, type Plugin } from '../lib/index.ts'
import { accessRules, mosquittoAcl } from '../plugins/acl/index.ts'
import { Aedes } from '../plugins/aedes/index.ts'
import { chain, when } from '../plugins/chain/index.ts'
import { clientCertificate } from '../plugins/client-certificate/index.ts'
import { keyring, requireEncryption } from '../plugins/crypto/index.ts'
import { httpAuth } from '../plugins/http-auth/index.ts'
import { jwt } from '../plugins/jwt/index.ts'
import { lmdbPersistence } from '../plugins/lmdb/index.ts'
import { passwordFile } from '../plugins/password-file/index.ts'
import { rateLimit } from '../plugins/rate-limit/index.ts'
import { redisCluster, redisPersistence } from '../plugins/redis/index.ts'
import { deriveScramCredentials, scramFile, scramSha256 } from '../plugins/scram/index.ts'
import { createTestBroker } from '../plugins/testing/index.ts'

interface Row {
  readonly make: (options: never) => unknown
  /** Options that are right, of which one at a time is made wrong. */
  readonly right: object
  /** Beside what is wrong for every option. */
  readonly wrong?: Readonly<Record<string, readonly unknown[]>>
  /** What may be anything. */
  readonly free?: readonly string[]
}

const bytes = Buffer.alloc(32)
const notNumbers = ['1', Number.NaN, -1, 2 ** 60]
const plugin: Plugin = { name: 'right' }
const jwks = 'https://keys.example/set'

const table: Readonly<Record<string, Row>> = {
  accessRules: { make: accessRules, right: { rules: [], groups: {}, groupsClaim: 'g', default: 'deny', name: 'a', cacheSize: 1, maximumFilters: 1, watch: false }, wrong: { cacheSize: notNumbers, maximumFilters: notNumbers, groups: [new Map()], default: ['maybe'] } },
  mosquittoAcl: { make: mosquittoAcl, right: { path: 'acl', watch: false, name: 'a', cacheSize: 1, maximumFilters: 1 }, wrong: { cacheSize: notNumbers } },
  chain: { make: chain, right: { name: 'c', plugins: [plugin] }, wrong: { plugins: ['a', [], new Map(), 7] } },
  when: { make: options => when(options, plugin), right: { listener: 'a', address: '10.0.0.0/8', transport: 'stream' }, wrong: { address: ['here'], transport: ['pigeon'], listener: [''] } },
  clientCertificate: { make: clientCertificate, right: { name: 'c', identity: 'dns', clientIdentifier: true, required: true, ca: 'ca', crl: 'crl', acceptExpiredCrl: false, watch: false }, wrong: { identity: ['name', ['dns']], ca: [''] } },
  requireEncryption: { make: requireEncryption, right: { filters: ['a'], name: 'r' }, wrong: { filters: [[], ['a/#/b'], [7], 'a'] } },
  'keyring: an entry': { make: entry => keyring([entry]), right: { filter: 'a', keys: [{ id: 'k', key: bytes }] }, wrong: { filter: ['a/#/b', ''], keys: [[], [null], [{ id: 'k', key: 'text' }]] } },
  'keyring: a key': { make: key => keyring([{ filter: 'a', keys: [key] }]), right: { id: 'k', key: bytes, notAfter: 1 }, wrong: { notAfter: [Number.NaN, '1'], key: [Buffer.alloc(31)] } },
  httpAuth: {
    make: httpAuth,
    right: { url: 'http://a', authorizeUrl: 'http://a', method: 'POST', answer: 'json', headers: {}, timeoutMs: 1, maximumConnections: 1, maximumWaiting: 1, maximumAnswerSize: 1, authenticateCacheMs: 1, authorizeCacheMs: 1, maximumCached: 1, maximumFailures: 1, retryAfterMs: 1, whenUnavailable: 'refuse', name: 'h', tls: {} },
    wrong: { url: ['ftp://a', 'http://u:p@a', 'a'], headers: [new Map(), { 'a b': 'c' }, { a: 1 }], timeoutMs: notNumbers, retryAfterMs: notNumbers, tls: ['x'] },
  },
  'jwt: a secret': {
    make: jwt,
    right: { secret: 's'.repeat(32), name: 'j', algorithms: ['HS256'], issuer: 'i', audience: 'a', type: 't', clockToleranceSeconds: 1, requireExpiry: true, username: 'sub', clientIdentifier: 'c', from: 'password', method: 'JWT', permissions: 'p', maximumTokenBytes: 1, cachedTokens: 1 },
    wrong: { secret: ['short'], algorithms: [['RS256'], ['none'], 'HS256', []], clockToleranceSeconds: notNumbers, maximumTokenBytes: notNumbers, cachedTokens: ['1', -1, 2 ** 60], from: ['body', [], { query: '' }], issuer: [[], [7]], jwks: [jwks], watch: [true], keySet: [{}] },
  },
  'jwt: a remote key set': { make: jwt, right: { jwks, algorithms: ['RS256'] }, wrong: { jwks: ['http://', 'https://u:p@a', 'ftp://a/set', 'file://host/set', '', { keys: 7 }, { keys: [{ kty: 'oct', k: 'AA' }] }], algorithms: [['HS256'], ['RS257']], keySet: ['fast'], watch: [true] } },
  'jwt: keySet': { make: keySet => jwt({ jwks, keySet }), right: { refreshSeconds: 600, cooldownSeconds: 30, staleSeconds: 86_400, timeoutMs: 1, maximumBytes: 1 }, wrong: { refreshSeconds: [...notNumbers, 0], cooldownSeconds: [...notNumbers, 0, 601], staleSeconds: [...notNumbers, 599], timeoutMs: [...notNumbers, 0], maximumBytes: [...notNumbers, 0] } },
  'jwt: a key': { make: jwt, right: {}, wrong: { key: ['x', {}, { kty: 'oct', k: 'AA' }] } },
  lmdbPersistence: { make: lmdbPersistence, right: { path: 'd', durability: 'power', commitDelayMs: 0, readOnly: false }, wrong: { path: ['', 'a\0b'], durability: ['none'], commitDelayMs: [...notNumbers, null, [], 1n] } },
  passwordFile: { make: passwordFile, right: { path: 'f', watch: false, name: 'p', maximumConcurrent: 1, maximumWaiting: 1, maximumRemembered: 1 }, wrong: { maximumConcurrent: [...notNumbers, 0], path: [''] } },
  rateLimit: {
    make: rateLimit, right: { name: 'r', connections: { perSecond: 1 }, concurrent: 1, failedLogins: {}, publishes: { perSecond: 1 }, flapping: {}, addressPrefix: {}, allow: ['10.0.0.0/8'], maximumEntries: 100 },
    wrong: { concurrent: notNumbers, allow: [['here'], 'here', [7]], publishes: [{}, { perSecond: 'x' }, { perSecond: 1, perSeccond: 1 }], connections: [{}, { perSecond: Number.NaN }], failedLogins: [{ atempts: 1 }, { attempts: 0 }], flapping: [{ withinMs: Infinity }], addressPrefix: [{ ipv4: 33 }], maximumEntries: notNumbers },
  },
  redisPersistence: { make: redisPersistence, right: { redis: 'redis://127.0.0.1:1', prefix: 'p', leaseMs: 2_000, commitDelayMs: 0 }, wrong: { redis: ['http://a', '', [], new Map()], prefix: ['{}', ''], leaseMs: [...notNumbers, 1], commitDelayMs: notNumbers } },
  redisCluster: { make: redisCluster, right: { redis: 'redis://127.0.0.1:1', prefix: 'p', leaseMs: 2_000, commitDelayMs: 0 } },
  scramSha256: { make: scramSha256, right: { credentials: () => undefined, iterations: 5_000, secret: bytes, nonce: () => 'n' }, wrong: { iterations: [...notNumbers, 1], secret: ['text'] } },
  deriveScramCredentials: { make: options => deriveScramCredentials('password', options), right: { salt: Buffer.alloc(16), iterations: 4096 }, wrong: { iterations: [...notNumbers, 1, 2 ** 31], salt: ['text'] } },
  scramFile: { make: scramFile, right: { path: 'f', watch: false, secret: bytes }, wrong: { path: [''], secret: ['text'] } },
  Aedes: { make: options => { new Aedes(options).close() }, right: { id: 'a', heartbeatInterval: 60_000, connectTimeout: 1, keepaliveLimit: 0, drainTimeout: 0, maxTopicLevels: 1, maxInflightInbound: 0, concurrency: 1, queueLimit: 1, myelin: {}, preConnect: () => undefined }, wrong: { heartbeatInterval: notNumbers, connectTimeout: notNumbers, keepaliveLimit: notNumbers, maxTopicLevels: [...notNumbers, 0], maxInflightInbound: notNumbers, mq: [{}] }, free: ['concurrency', 'queueLimit'] },
  createTestBroker: { make: options => createTestBroker(options).then(test => test.close()), right: { patienceMs: 1 }, wrong: { clock: [{}, 7], patienceMs: notNumbers } },
  createBroker: {
    make: (options: BrokerOptions) => createBroker(options).then(broker => broker.close()),
    right: { hooks: {}, plugins: [], authenticationMethods: [], limits: {}, sysIntervalMs: 0, sharedSubscriptionStrategy: 'random', deniedPublish: 'close', hookTimeoutMs: 1, closeTimeoutMs: 0, serverReference: 's', nodeName: 'n' },
    wrong: { clock: [7, {}], logger: [{}], responseInformation: ['x'], durability: ['store'], authenticationMethods: [{}, [null], [{ name: 'm' }], [{ start: () => undefined }]], plugins: [[{ name: 'p', setup: 7 }], [{ name: 'p', close: 7 }], [{ name: 'p', hooks: 7 }], [{ name: 'p', authenticationMethods: [7] }]], hookTimeoutMs: [...notNumbers, 0], hooks: [() => undefined, new Map()] },
  },
}

/** No option is any of these. */
const nothingIs: readonly unknown[] = [Symbol('wrong'), 1n]

/** The error of what is thrown at once, or rejected with; undefined when it was taken. */
async function errorOf (make: Row['make'], options: object): Promise<unknown> {
  try {
    await make(options as never)
    return undefined
  } catch (error) {
    return error
  }
}

/** @param isWhole false where something inside the option may be what is named */
function names (error: unknown, name: string, isWhole: boolean): boolean {
  return error instanceof MqttError && error.code === ErrorCode.optionInvalid && error.message.startsWith('option ') && (!isWhole || error.message.includes(name))
}

for (const [maker, { make, right, wrong = {}, free = [] }] of Object.entries(table)) {
  t.test(`${maker}: an option that is unknown or wrong is named by a typed error`, async t => {
    if (Object.keys(right).length > 0) t.equal(await errorOf(make, right), undefined, 'what is right is taken')
    for (const given of [null, 7, 'text', [], new Map(), Promise.resolve()]) t.ok((await errorOf(make, given as never) as MqttError | undefined)?.code === ErrorCode.optionInvalid, 'what is no object')
    t.ok(names(await errorOf(make, { ...right, nmae: 1 }), 'nmae" is unknown', true), 'an unknown name')
    const cases = Object.keys({ ...right, ...wrong }).filter(name => !free.includes(name)).flatMap(name => [...nothingIs, ...wrong[name] ?? []].map(value => [name, value] as const))
    for (const [name, value] of cases) {
      const error = await errorOf(make, { ...right, [name]: value })
      t.ok(names(error, name, typeof value !== 'object'), `${name} of ${typeof value}: ${String(error)}`)
    }
  })
}
