// The tests use programs that npm does not bring. Installs what is missing where that is possible, else says how. Run before `npm test`.
import { spawnSync } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { existsSync } from 'node:fs'

const needed = { mosquitto_pub: 'mosquitto-clients', chromium: 'chromium', openssl: 'openssl' }

const isThere = program => (process.env.PATH ?? '').split(delimiter).some(folder => existsSync(join(folder, program)))
const missing = Object.entries(needed).filter(([program]) => !isThere(program)).map(([, name]) => name)
if (missing.length > 0) {
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`
  const canInstall = process.getuid?.() === 0 && isThere('apt-get')
  const run = line => spawnSync('sh', ['-c', line], { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }).status === 0
  console.error(`The tests also need: ${missing.join(', ')}.`)
  if (!canInstall || !run(`apt-get update -q && ${command}`)) console.error(`Install them with: sudo ${command}`)
}
