import { measure } from './measure.ts'
import { writeFileSync } from 'node:fs'
const kept = await measure(process.cwd(), Number(process.argv[2] ?? 1), new AbortController().signal)
writeFileSync('/tmp/e-kept.json', JSON.stringify(kept, null, 1))
console.log(JSON.stringify(kept.figures, null, 1)); console.table(kept.checks.flatMap(c => c.rows))
