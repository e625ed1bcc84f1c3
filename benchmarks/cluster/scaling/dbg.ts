import { Redis } from 'ioredis'
import { Laboratory } from './laboratory.ts'
import { readFileSync } from 'node:fs'
import { check } from './check.ts'
import { measureIdle, measureCosts } from './measure-costs.ts'
import type { Kept } from './figures.ts'
const kept = JSON.parse(readFileSync('/tmp/e-kept.json', 'utf8')) as Kept
const stats = (info: string) => new Map([...info.matchAll(/^cmdstat_(\S+):calls=(\d+),usec=(\d+)/gm)].map(([, n = '', c, u]) => [n, [Number(c), Number(u)]] as const))
await Laboratory.with(2, new AbortController().signal, async lab => {
  const orig = lab.during.bind(lab)
  const conn = (lab as any).connection() as Redis
  lab.during = async (run: () => Promise<void>) => {
    const b = stats(await conn.info('everything'))
    const r = await orig(run)
    const a = stats(await conn.info('everything'))
    const out: Record<string, string> = {}
    for (const [k, [c, u]] of a) { const [c0, u0] = b.get(k) ?? [0, 0]; if (c - c0) out[k] = `${((c - c0)).toFixed(0)} (${u - u0}us)` }
    console.log(r.seconds.toFixed(1), 's cpu', r.usage.cpuUs.toFixed(0), JSON.stringify(out))
    return r
  }
  await measureIdle(lab)
  if (process.argv[2] === 'check') console.table((await check(lab, 2000, kept.figures)).rows)
  else await measureCosts(lab, 1)
})
