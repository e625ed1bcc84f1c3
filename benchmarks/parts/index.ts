// All parts, each in a process of its own, so that none is measured with code that was optimized for another: `node index.js`
import { execFileSync } from 'node:child_process'
import { cpus } from 'node:os'
import { execPath, version } from 'node:process'
import { fileURLToPath } from 'node:url'
import { tableHead } from './measure.ts'

const parts = ['decode', 'encode', 'match', 'fan-out', 'new-topics', 'session-window'] as const

function run (part: string): string {
  const program = fileURLToPath(new URL(`${part}${import.meta.url.slice(-3)}`, import.meta.url))
  return execFileSync(execPath, ['--expose-gc', program, '--rows'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trimEnd()
}

console.log(`CPU time of one operation, Node ${version}, ${cpus()[0]?.model ?? 'unknown processor'}\n\n${tableHead}`)
for (const part of parts) console.log(run(part))
