// Runs a folder of black-box MQTT checks (its `run.mjs HOST PORT --ws PORT/PATH`) against the built command line:
//   npm run test:conformance -- <folder> [options of run.mjs]
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { createInterface } from 'node:readline'
import { join } from 'node:path'

const [folder, ...options] = process.argv.slice(2)
const program = folder === undefined ? '' : join(folder, 'run.mjs')
if (!existsSync(program)) {
  console.error('usage: npm run test:conformance -- <folder with run.mjs> [options]')
  process.exit(2)
}

// As a newcomer starts it: with its sessions on disk.
const data = mkdtempSync(join(tmpdir(), 'myelin-'))
const broker = spawn(process.execPath, [join(import.meta.dirname, '../dist/plugins/cli/main.js'), '--host', '127.0.0.1', '--port', '0', '--ws-port', '0', '--data', data],
  { stdio: ['ignore', 'pipe', 'inherit'] })
process.on('exit', () => {
  broker.kill('SIGKILL')
  rmSync(data, { recursive: true, force: true, maxRetries: 5 })
})

/** The ports that the start banner names. */
async function ports () {
  const found = {}
  for await (const line of createInterface({ input: broker.stdout })) {
    const [, scheme, port] = /^\s+(mqtt|ws):\/\/127\.0\.0\.1:(\d+)/.exec(line) ?? []
    if (scheme !== undefined) found[scheme] = port
    if (found.mqtt !== undefined && found.ws !== undefined) return found
  }
  throw new Error('the broker ended before it listened: was it built (npm run build)?')
}

const { mqtt, ws } = await ports()
const checks = spawn(process.execPath, [program, '127.0.0.1', mqtt, '--ws', `${ws}/mqtt`, '--quiet', ...options], { stdio: 'inherit' })
checks.on('exit', code => { process.exit(code ?? 1) })
