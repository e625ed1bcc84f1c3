// Who may connect, what they may do, and what is known of each message. Try it:
//   mosquitto_sub -u ada -P 'correct horse' -t 'home/ada/#' -v
//   mosquitto_pub -u ada -P 'correct horse' -t home/ada/lamp -m on
import { scrypt, timingSafeEqual, type BinaryLike } from 'node:crypto'
import { createServer } from 'node:net'
import { promisify } from 'node:util'
import { createBroker } from 'myelin'

/** What `authenticate` attaches to a Client; every later hook has it as `client.data`, with this type. */
interface Account { readonly home: string, readonly passwordHash: Buffer }

const hash = promisify<BinaryLike, BinaryLike, number, Buffer>(scrypt)
const accounts = new Map<string, Account>([['ada', { home: 'home/ada/', passwordHash: await hash('correct horse', 'salt', 32) }]])

const broker = await createBroker<Account>({
  hooks: {
    // May take its time: only this connection waits. What it throws is a refusal.
    async authenticate ({ username, password }) {
      const account = accounts.get(username ?? '')
      if (account === undefined || password === undefined) return false
      return timingSafeEqual(await hash(password, 'salt', 32), account.passwordHash) && { allow: true, data: account }
    },

    authorizePublish: ({ client, topicName }) => topicName.startsWith(client.data.home),
    authorizeSubscribe: ({ client, topicFilter }) => topicFilter.startsWith(client.data.home),

    // A message never changes: a hook that wants another one says what is to differ.
    onPublish ({ client, message }) {
      const userProperties = [...message.properties?.userProperties ?? [], ['from', client?.username ?? 'the host'] as const]
      return { properties: { ...message.properties, userProperties } }
    },

    refused: ({ connection, error }) => { console.log(`${connection.remoteAddress ?? 'somebody'} was refused: ${error.message}`) },
    onDrop: ({ clientIdentifier, message, reason }) => { console.log(`${clientIdentifier ?? 'nobody'} misses ${message.topicName}: ${reason}`) },
  },
})
createServer(broker.handle).listen(1883, '127.0.0.1')
