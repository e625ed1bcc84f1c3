// The tests use programs that npm does not bring. Installs what is missing where that is possible, else says how. Run before `npm test`.
import { spawnSync } from 'node:child_process'
import { delimiter, join } from 'node:path'
import { existsSync } from 'node:fs'

const needed = { mosquitto_pub: 'mosquitto-clients', mosquitto_passwd: 'mosquitto', chromium: 'chromium', openssl: 'openssl', 'redis-server': 'redis-server' }

const isThere = program => (process.env.PATH ?? '').split(delimiter).some(folder => existsSync(join(folder, program)))
const missing = Object.entries(needed).filter(([program]) => !isThere(program)).map(([, name]) => name)
if (missing.length > 0) {
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`
  const canInstall = process.getuid?.() === 0 && isThere('apt-get')
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' } // in runlevel 1 no service is started: the tests start their own
  const run = line => spawnSync('sh', ['-c', line], { stdio: ['ignore', 'ignore', 'inherit'], env: environment }).status === 0
  console.error(`The tests also need: ${missing.join(', ')}.`)
  if (!canInstall || !run(`apt-get update -q && ${command}`)) console.error(`Install them with: sudo ${command}`)
}
