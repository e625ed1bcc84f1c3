// Clients who bring a JSON Web Token: who they are, and what they may do, is what its issuer says.
//   node examples/security/jwt.ts https://id.example/keys https://id.example/
import { createServer } from 'node:net'
import { createBroker } from 'myelin'
import { jwt } from 'myelin/jwt'

const [jwks = 'https://id.example/keys', issuer = 'https://id.example/'] = process.argv.slice(2)

const broker = await createBroker({
  plugins: [jwt({ jwks, issuer, audience: 'mqtt', clockToleranceSeconds: 5, permissions: 'acl' })],
  hooks: { connected: ({ client }) => { console.log(`${client.username ?? ''} of ${String(client.claims['group'])} is here`) } },
})
createServer(broker.handle).listen(1883, '127.0.0.1')
