import { join } from 'node:path'
import t from 'tap'
import { campaign } from './crash/campaign.ts'
import { root } from './support/program.ts'

t.setTimeout(300_000) // processes take their time on a busy machine

const kills = 8

t.test(`a broker that is killed ${kills} times under load loses nothing, doubles no QoS 2 message and keeps the order`, async t => {
  const seed = Math.floor(Math.random() * 1_000_000)
  const again = `npm run test:crash -- --kills ${kills} --seed ${seed}`
  t.comment(again)
  const { faults, published, acknowledged, received, resent, ...report } = await campaign({ main: join(root, 'dist/plugins/cli/main.js'), kills, seed, durability: 'both' })
  t.same(faults, [], again)
  t.match(report, { kills, lost: 0, doubled: 0, outOfOrder: 0 })
  t.equal(acknowledged, published)
  t.ok(published > 0 && received > published && resent > 0, 'there was load')
})
