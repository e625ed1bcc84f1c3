// Passwords that never cross the network: enhanced authentication (MQTT 5.0 section 4.12) with SCRAM-SHA-256.
import { createServer } from 'node:net'
import { createBroker } from 'myelin'
import { deriveScramCredentials, scramSha256 } from 'myelin/scram'

// In earnest these come from a database: four fields for each user, from which nobody can log in.
const users = new Map([['ada', await deriveScramCredentials('correct horse')]])

const broker = await createBroker({
  authenticationMethods: [scramSha256({ credentials: username => users.get(username) })],
  // With a method and no `authenticate` hook, a CONNECT without a method is refused.
  hooks: { connected: ({ client }) => { console.log(`${client.username ?? ''} is here`) } },
})
createServer(broker.handle).listen(1883, '127.0.0.1')
