import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Access } from './scenarios.ts'

/** A command that serves MQTT on a port of 127.0.0.1 until it is killed. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  /** Removes what was made for it. */
  cleanUp? (): void
}

/** A broker that can be measured. */
export interface BrokerUnderTest {
  readonly name: string
  readonly version: string
  /** How it can be reached. */
  readonly accesses: readonly Access[]
  readonly protocolVersions: readonly (4 | 5)[]
  command (port: number, access: Access): Command
}

/** Or why it cannot. */
export interface AbsentBroker {
  readonly name: string
  readonly absent: string
}

/** Myelin as built in a folder: its command line, or with hooks in a host of its own. */
export function myelin (root: string, name: string = 'myelin'): BrokerUnderTest {
  const cli = join(root, 'dist/plugins/cli/main.js')
  const host = serverProgram('hooks')
  // As the peers are measured here: nothing is written to disk. A revision from before there was a store has no such option.
  const inMemory = existsSync(join(root, 'dist/plugins/lmdb')) ? ['--data', 'off'] : []
  const ports = (port: number, access: Access): string[] => access === 'websocket' ? ['--port', 'off', '--ws-port', String(port)] : ['--port', String(port), '--ws-port', 'off']
  return {
    name,
    version: versionIn(root),
    accesses: ['tcp', 'websocket', 'hooks'],
    protocolVersions: [4, 5],
    command: (port, access) => ({
      file: process.execPath,
      args: access === 'hooks' ? [host, String(port), root] : [cli, '--host', '127.0.0.1', '--log-format', 'quiet', ...inMemory, ...ports(port, access)],
    }),
  }
}

/** Myelin in a host that connects so many idle Clients to it over streams in memory. */
export function crowded (root: string, streams: number): BrokerUnderTest {
  const command = (port: number): Command => ({ file: process.execPath, args: [serverProgram('crowd'), String(port), root, String(streams)] })
  return { ...myelin(root), accesses: ['tcp'], command }
}

function serverProgram (name: string): string {
  return join(import.meta.dirname, '../servers', `${name}${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)
}

/** Mosquitto as its distribution built it, with the limits that a load test hits taken away and nothing written to disk. */
export function mosquitto (): BrokerUnderTest | AbsentBroker {
  return mosquittoWith('mosquitto', folder => ({ lines: ['persistence false'], cleanUp: () => { rmSync(folder, { recursive: true }) } }))
}

/** What is said to Mosquitto beside that. */
export interface MosquittoSetting {
  readonly lines: readonly string[]
  readonly cleanUp: () => void
}

/** @param settingFor told the folder of the configuration file, which it has to remove in the end */
export function mosquittoWith (name: string, settingFor: (folder: string) => MosquittoSetting): BrokerUnderTest | AbsentBroker {
  for (const file of ['mosquitto', '/usr/sbin/mosquitto']) {
    const { error, stdout } = spawnSync(file, ['-h'], { encoding: 'utf8' })
    if (error !== undefined) continue
    const version = /version (\S+)/.exec(stdout)?.[1] ?? 'unknown'
    return { name, version, accesses: ['tcp', 'websocket'], protocolVersions: [4, 5], command: (port, access) => mosquittoCommand(file, port, access, settingFor) }
  }
  return { name, absent: 'apt-get install mosquitto' }
}

function mosquittoCommand (file: string, port: number, access: Access, settingFor: (folder: string) => MosquittoSetting): Command {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  const configuration = join(folder, 'mosquitto.conf')
  const { lines, cleanUp } = settingFor(folder)
  writeFileSync(configuration, [
    `listener ${port} 127.0.0.1`, `protocol ${access === 'websocket' ? 'websockets' : 'mqtt'}`, 'allow_anonymous true', 'max_queued_messages 0',
    'max_inflight_messages 0', 'max_connections -1', 'set_tcp_nodelay true', 'log_type error', ...lines, '',
  ].join('\n'))
  chmodSync(folder, 0o755) // started by root, it reads its file as another user
  return { file, args: ['-c', configuration], cleanUp }
}

/** Aedes as its documentation starts it; see `benchmarks/peers`. */
export function aedes (root: string): BrokerUnderTest | AbsentBroker {
  const peers = join(root, 'benchmarks/peers')
  const name = 'aedes'
  if (!existsSync(join(peers, 'node_modules/aedes'))) return { name, absent: 'npm ci --prefix benchmarks/peers' }
  return {
    name,
    version: versionIn(join(peers, 'node_modules/aedes')),
    accesses: ['tcp', 'websocket'],
    protocolVersions: [4],
    command: (port, access) => ({ file: process.execPath, args: [join(peers, 'aedes.mjs'), String(port), access] }),
  }
}

/** The version of the package in a folder. */
export function versionIn (folder: string): string {
  return (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }).version
}

/** @throws RangeError for a name that is none */
export function brokersOf (names: readonly string[], root: string): (BrokerUnderTest | AbsentBroker)[] {
  return names.map(name => {
    switch (name) {
      case 'myelin': return myelin(root)
      case 'mosquitto': return mosquitto()
      case 'aedes': return aedes(root)
      default: throw new RangeError(`--brokers: no broker ${name}; there are myelin, mosquitto and aedes`)
    }
  })
}
