import t from 'tap'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { ClientInfo } from '../lib/index.ts'
import { connect, settled, startBroker } from './support/harness.ts'

// What is over is let go.

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

t.test('Sessions that have ended are let go, however many there were at a time', async t => {
  const clients: WeakRef<ClientInfo>[] = []
  const test = await startBroker(t, { hooks: { connected: ({ client }) => { clients.push(new WeakRef(client)) } } })
  for (let round = 0; round < 3; round++) {
    await test.clock.advance(1000)
    const connected = await Promise.all(Array.from({ length: 40 }, async (_, i) => (await connect(test, { clientIdentifier: `${round} ${i}` }))[0]))
    await Promise.all(connected.map(async client => client.vanish()))
  }
  await test.clock.advance(1000)
  await settled()
  collectGarbage()
  t.equal(clients.length, 120)
  t.ok(clients.filter(client => client.deref() !== undefined).length < 10)
})
