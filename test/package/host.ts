// A host as somebody else would write it. test/package.test.ts compiles it as a CommonJS and as an ES module, and for a bundler.
import { createServer, type AddressInfo } from 'node:net'
import { createBroker, MqttError, type Hooks } from 'myelin'
import { deriveScramCredentials, scramSha256 } from 'myelin/scram'

interface User { readonly name: string }

const hooks: Hooks<User> = {
  authenticate: ({ username }) => username === undefined ? undefined : { allow: true, data: { name: username } },
  authorizePublish: ({ client, topicName }) => topicName.startsWith(`${client.data.name}/`),
}

async function start (): Promise<void> {
  const credentials = await deriveScramCredentials('secret', { iterations: 4096 })
  const broker = await createBroker<User>({ hooks, authenticationMethods: [scramSha256({ credentials: () => ({ ...credentials, data: { name: 'ada' } }) })] })
  await broker.publish('no/wildcards/#', '').catch((error: unknown) => { if (!(error instanceof MqttError)) throw error })
  const server = createServer(broker.handle).listen(0, '127.0.0.1', () => { console.log((server.address() as AddressInfo).port) })
}

void start()
