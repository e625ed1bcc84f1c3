// Does to a cluster what happens to clusters, while clients use it, and checks what came of every message:
//   npm run test:chaos -- [--faults 50] [--seed <number>] [--lease <milliseconds>] [--only kill,cut] [--node <program>] [--verbose]
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { campaign, type ChaosReport } from './campaign.ts'
import { faultNames } from './faults.ts'

const text = { type: 'string' as const }
const { values } = parseArgs({
  options: {
    faults: { ...text, default: '50' }, seed: { ...text, default: String(Math.floor(Math.random() * 1_000_000)) }, lease: { ...text, default: '1500' },
    only: text, node: { ...text, default: 'test/cluster/node.mjs' }, verbose: { type: 'boolean', default: false },
  },
})

const [faults, seed, leaseMs] = [Number(values.faults), Number(values.seed), Number(values.lease)]
const only = values.only?.split(',') ?? faultNames
if (![faults, seed, leaseMs].every(Number.isInteger) || !only.every(name => faultNames.includes(name))) {
  console.error(`usage: npm run test:chaos -- [--faults <number>] [--seed <number>] [--lease <milliseconds>] [--only ${faultNames.join(',')}] [--node <program>] [--verbose]`)
  process.exit(2)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { process.exit(130) })

const again = `npm run test:chaos -- --faults ${faults} --seed ${seed} --lease ${leaseMs}${values.only === undefined ? '' : ` --only ${values.only}`}`
console.log(again)
const report = await campaign({ program: resolve(values.node), faults, seed, leaseMs, only, progress: console.log })
print(report)
process.exit(report.faults.length === 0 ? 0 : 1)

function print ({ faults, complaints, ...figures }: ChaosReport): void {
  console.table(figures)
  for (const fault of faults) console.log(fault)
  if (values.verbose) console.log(complaints)
  if (faults.length > 0) console.log(`again: ${again}`)
}
