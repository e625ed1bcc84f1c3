// Runs a folder of black-box MQTT checks (its `run.mjs HOST PORT --ws PORT/PATH`) against the built command line:
//   npm run test:conformance -- <folder> [options of run.mjs]
// or against a cluster on Redis, where each connection goes to another node:
//   npm run test:conformance -- <folder> --nodes 3 [options of run.mjs]
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { start, startNodes, startRedis, told } from './cluster/processes.mjs'
import { split } from './cluster/splitter.mjs'

const [folder, ...options] = process.argv.slice(2)
const nodes = Number(optionOf('--nodes') ?? 0)
const program = folder === undefined ? '' : join(folder, 'run.mjs')
if (!existsSync(program) || !Number.isInteger(nodes)) {
  console.error('usage: npm run test:conformance -- <folder with run.mjs> [--nodes <number>] [options]')
  process.exit(2)
}
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => { process.exit(130) })

const { mqtt, ws } = await (nodes === 0 ? commandLine() : cluster(nodes))
const checks = start(process.execPath, [program, '127.0.0.1', mqtt, '--ws', `${ws}/mqtt`, '--quiet', ...options], 'inherit')
checks.on('exit', code => { process.exit(code ?? 1) })

/** Takes an option with its value out of those for the checks. */
function optionOf (name) {
  const index = options.indexOf(name)
  return index < 0 ? undefined : options.splice(index, 2)[1]
}

/** As a newcomer starts it: with its sessions on disk. */
async function commandLine () {
  const data = mkdtempSync(join(tmpdir(), 'myelin-'))
  const broker = start(process.execPath, [join(import.meta.dirname, '../dist/plugins/cli/main.js'), '--host', '127.0.0.1', '--port', '0', '--ws-port', '0', '--data', data])
  process.once('exit', () => { rmSync(data, { recursive: true, force: true, maxRetries: 5 }) })
  const found = {}
  return told(broker, line => { // the ports that the start banner names
    const [, scheme, port] = /^\s+(mqtt|ws):\/\/127\.0\.0\.1:(\d+)/.exec(line) ?? []
    if (scheme !== undefined) found[scheme] = port
    return found.mqtt !== undefined && found.ws !== undefined ? found : undefined
  })
}

async function cluster (count) {
  const ports = await startNodes(count, ['--redis', String(await startRedis()), '--log', 'warn'])
  const [mqtt, ws] = await Promise.all([split(ports.map(({ port }) => port)), split(ports.map(({ wsPort }) => wsPort))])
  return { mqtt: mqtt.port, ws: ws.port }
}
