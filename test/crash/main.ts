// Kills a broker again and again while clients use it, and checks what came of every message:
//   npm run test:crash -- [--kills 200] [--seed <number>] [--durability power|process|both] [--broker <main.js>]
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { campaign, type CampaignOptions, type Report } from './campaign.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
    durability: { type: 'string', default: 'both' },
    broker: { type: 'string', default: 'dist/plugins/cli/main.js' },
  },
})

const durability = (['power', 'process', 'both'] as const).find(name => name === values.durability)
const [kills, seed] = [Number(values.kills), Number(values.seed)]
if (durability === undefined || !Number.isInteger(kills) || !Number.isInteger(seed)) {
  console.error('usage: npm run test:crash -- [--kills <number>] [--seed <number>] [--durability power|process|both] [--broker <main.js>]')
  process.exit(2)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { process.exit(130) })

console.log(`${kills} kills, durability ${durability}, --seed ${seed}`)
const options: CampaignOptions = {
  main: resolve(values.broker), kills, seed, durability,
  progress: (done, published) => { if (done % 10 === 0) console.log(`${done} kills, ${published} messages`) },
}
const report = await campaign(options)
print(report)
process.exit(isRight(report) ? 0 : 1)

function print ({ faults, ...figures }: Report): void {
  console.table(figures)
  for (const fault of faults) console.log(fault)
}

function isRight ({ acknowledged, published, faults }: Report): boolean {
  return acknowledged === published && faults.length === 0
}
