// The compiler runs these tests: `npm run typecheck`, and test/package.test.ts against the published declarations. Nothing here is executed.
import {
  createBroker,
  type Accept, type AuthenticationMethod, type Broker, type BrokerOptions, type ClientInfo, type Hooks, type MessagePatch, type Plugin, type QoS, type ReasonCode,
} from 'myelin'
import { scramSha256 } from 'myelin/scram'

interface User { readonly name: string, readonly roles: readonly string[] }

/** Takes a value of that very type: no narrower, no wider, and not `any`. */
type Exactly<T> = <V extends T>(value: V, ...wrong: [T] extends [V] ? 0 extends 1 & V ? [never] : [] : [never]) => void
declare const isUser: Exactly<User>
declare const isMaybeClient: Exactly<ClientInfo<User> | undefined>
declare const isUnknown: Exactly<unknown>

/** What `authenticate` attaches is what every later hook finds. */
export const everyHook: Hooks<User> = {
  authenticate: () => ({ allow: true, data: { name: 'ada', roles: [] } }),
  authorizePublish: ({ client }) => { isUser(client.data); return true },
  authorizeSubscribe: ({ client }) => { isUser(client.data); return true },
  authorizeTopic: ({ client }) => { isUser(client.data); return true },
  authorizeDeliver: ({ client }) => { isUser(client.data); return true },
  onConnect: ({ client }) => { isUser(client.data); return undefined },
  onPublish: ({ client }) => { isMaybeClient(client); return undefined },
  onSubscribe: ({ client }) => { isUser(client.data); return undefined },
  onDrop: ({ client }) => { isMaybeClient(client) },
  connected: ({ client }) => { isUser(client.data) },
  disconnected: ({ client }) => { isUser(client.data) },
  subscribed: ({ client }) => { isUser(client.data) },
  unsubscribed: ({ client }) => { isUser(client.data) },
  published: ({ client }) => { isMaybeClient(client) },
}

/** The same through `createBroker`, `hook`, `clients` and `durability`. */
export async function broker (): Promise<Broker<User>> {
  const made = await createBroker<User>({ hooks: everyHook, durability: ({ client }) => client?.data.name === 'ada' ? 'memory' : 'store' })
  for (const client of made.clients()) isUser(client.data)
  made.hook({ connected: ({ client }) => { isUser(client.data) } })
  // @ts-expect-error: there is no hook of that name
  made.hook({ authorisePublish: () => true })
  // @ts-expect-error: a User is attached, not a number
  made.hook({ authenticate: () => ({ allow: true, data: 1 }) })
  return made
}

/** Without a type of its own, data is unknown. */
export const untyped: Hooks = { connected: ({ client }) => { isUnknown(client.data) } }

/** What is wrong in a hook does not compile. */
export const faults: Hooks<User>[] = [
  // @ts-expect-error: there is no hook of that name
  { onpublish: () => undefined },
  // @ts-expect-error: a User has a name
  { authenticate: () => ({ allow: true, data: { roles: [] } }) },
  // @ts-expect-error: a refusal attaches nothing to nobody
  { authenticate: () => ({ allow: 'no' }) },
  // @ts-expect-error: the answer is a boolean or a Reason Code
  { authorizePublish: () => 'yes' },
  // @ts-expect-error: it must answer at once
  { authorizeDeliver: () => Promise.resolve(true) },
  // @ts-expect-error: it must answer at once
  { authorizeTopic: () => Promise.resolve(true) },
  // @ts-expect-error: it must answer at once
  { authorizeConnection: () => Promise.resolve(true) },
  // @ts-expect-error: it is called topicName
  { onPublish: () => ({ topic: 'a' }) },
  // @ts-expect-error: a QoS is 0, 1 or 2
  { onSubscribe: () => ({ qos: 3 }) },
  // @ts-expect-error: there is no client yet
  { refused: ({ client }) => { isUser(client) } },
]

/** A message is shared: it cannot be written to. */
export const frozen: Hooks = {
  onPublish ({ message }): MessagePatch {
    // @ts-expect-error: patches say what is to differ
    message.qos = 0
    return { qos: 1, retain: false, properties: { ...message.properties, contentType: 'text/plain' } }
  },
}

declare const plain: Plugin
declare const ofUsers: Plugin<User>
declare const ofNumbers: Plugin<number>

/** A plain plugin fits every broker, one with data only a broker of that data. */
export async function plugins (): Promise<void> {
  await createBroker({ plugins: [plain] })
  const made = await createBroker<User>({ plugins: [plain, ofUsers, { name: 'inline', hooks: { connected: ({ client }) => { isUser(client.data) } } }] })
  await made.use(plain)
  const inferred = await createBroker({ plugins: [ofUsers, plain] })
  for (const client of inferred.clients()) isUser(client.data)
  // @ts-expect-error: its Clients have a User, not a number
  await createBroker<User>({ plugins: [ofNumbers] })
  // @ts-expect-error: the same
  await made.use(ofNumbers)
}

/** A plain plugin is passed the broker, and may attach nothing. */
export const attachesNothing: Plugin = {
  name: 'plain',
  hooks: { authenticate: () => ({ allow: true, claims: { groups: [] } }), connected: ({ client }) => { isUnknown(client.data) } },
  setup (made) { takesBroker(made) },
}
declare function takesBroker (made: Broker): void

// @ts-expect-error: what it attaches has to be in its type
export const attaches: Plugin = { name: 'faulty', hooks: { authenticate: () => ({ allow: true, data: 1 }) } }

/** Enhanced authentication attaches the same data. */
export const methods: readonly AuthenticationMethod<User>[] = [
  scramSha256<User>({ credentials: () => undefined }),
  { name: 'TOKEN', start: () => ({ next: (): Accept<User> => ({ allow: true, data: { name: 'ada', roles: [] } }) }) },
]

/** Options are known by their names. */
export const options: BrokerOptions = {
  limits: { maximumPacketSize: 1024 },
  deniedPublish: 'close',
  // @ts-expect-error: there is no such option
  heartbeatInterval: 1000,
}

/** Only values of the tables are Reason Codes and QoS levels. */
export const codes: [ReasonCode, QoS] = [0x87, 2]
// @ts-expect-error: 0x17 means nothing
export const noReasonCode: ReasonCode = 0x17
