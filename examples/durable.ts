// A broker whose sessions outlive it: stop it or kill it, start it again, and clients go on where they were. `node durable.ts DIRECTORY`
import { createServer } from 'node:net'
import { createBroker } from 'myelin'
import { lmdbPersistence } from 'myelin/lmdb'

const [path = './data'] = process.argv.slice(2)

const broker = await createBroker({
  persistence: lmdbPersistence({ path, durability: 'power' }),
  hooks: {
    // What is kept is bounded, and what does not fit is told of.
    onDrop: ({ clientIdentifier, message, reason }) => { console.log(`${clientIdentifier ?? 'nobody'} misses ${message.topicName}: ${reason}`) },
  },
  limits: { maximumQueuedMessages: 1_000_000, maximumSessionExpiryInterval: 30 * 86_400 },
})
const server = createServer(broker.handle).listen(1883, '127.0.0.1')
console.log(`MQTT on mqtt://127.0.0.1:1883, kept in ${path}`)

process.once('SIGTERM', () => {
  server.close()
  void broker.close() // nothing would be lost without it: it saves the next start a little work, and clients a surprise
})
