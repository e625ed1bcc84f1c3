import t from 'tap'
import { puback } from './support/exchanges.ts'
import { TestCluster } from './support/cluster.ts'

t.test('a Shared Subscription of the host has a connected member', async t => {
  const cluster = await TestCluster.start(t, 2)
  const got: string[] = []
  cluster.at(1).broker.subscribe('$share/g/a', message => { got.push(message.payload.toString()) })
  await cluster.settle()
  await Promise.all([cluster.at(0).broker.publish('a', 'x'), cluster.settle()])
  t.same(got, ['x'])
})

t.test('what a Session has acknowledged does not come again at its new node', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [first] = await cluster.durable(0, 's')
  await first.subscribe('a', { qos: 1 })
  const [publisher] = await cluster.connect(0, 'p')
  cluster.at(0).node.requests.hold()
  publisher.publish('b', 'under way', { qos: 1, packetIdentifier: 1, retain: true })
  await cluster.settle()
  publisher.publish('a', 'x', { qos: 1, packetIdentifier: 2 })
  const [message] = await first.messages()
  first.send(puback(message?.packetIdentifier ?? 0))
  await cluster.settle()
  const opening = cluster.durable(1, 's')
  await cluster.settle()
  cluster.at(0).node.requests.release()
  const [second] = await opening
  await cluster.pass(1_000)
  t.same(await second.payloads(), [])
})
