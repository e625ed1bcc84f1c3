import t from 'tap'
import { TestCluster } from './support/cluster.ts'

t.test('a Shared Subscription of the host has a connected member', async t => {
  const cluster = await TestCluster.start(t, 2)
  const got: string[] = []
  cluster.at(1).broker.subscribe('$share/g/a', message => { got.push(message.payload.toString()) })
  await cluster.settle()
  await Promise.all([cluster.at(0).broker.publish('a', 'x'), cluster.settle()])
  t.same(got, ['x'])
})
