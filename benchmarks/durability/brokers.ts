import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { mosquittoWith, versionIn, type AbsentBroker, type BrokerUnderTest, type Command } from '../runner/brokers.ts'

/** A broker, and what its PUBACK promises. */
export interface DurableBroker {
  readonly broker: BrokerUnderTest | AbsentBroker
  /** The command line calls it that. */
  readonly id: string
  readonly promise: string
}

/** The brokers, each with a new folder for its data in each run; `data` is on the disk that is measured. */
export function durableBrokers (root: string, data: string): DurableBroker[] {
  return [
    { id: 'memory', broker: myelin(root, data, 'memory'), promise: 'nothing: Sessions end with the process' },
    { id: 'process', broker: myelin(root, data, 'process'), promise: 'survives `kill -9`, but not a power cut' },
    { id: 'power', broker: myelin(root, data, 'power'), promise: 'survives `kill -9` and a power cut' },
    { id: 'mosquitto', broker: mosquitto(data, 'mosquitto', []), promise: 'nothing until everything is saved, by default every 30 minutes: no save falls into a run' },
    { id: 'mosquitto-1s', broker: mosquitto(data, 'mosquitto 1 s', ['autosave_interval 1']), promise: 'what is older than a second or so, since everything is saved anew each second' },
    { id: 'aedes', broker: aedesLevel(root, data), promise: 'nothing: it leaves before the message is written; what was written survives `kill -9`' },
  ]
}

/** A folder for the data of one run. */
export function newFolder (data: string): string {
  mkdirSync(data, { recursive: true })
  return mkdtempSync(join(data, 'run-'))
}

export function removeFolder (folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}

function myelin (root: string, data: string, mode: 'memory' | 'process' | 'power'): BrokerUnderTest {
  return { name: `myelin ${mode}`, version: versionIn(root), accesses: ['tcp'], protocolVersions: [4, 5], command: port => myelinCommand(root, data, mode, port) }
}

function myelinCommand (root: string, data: string, mode: string, port: number): Command {
  const folder = newFolder(data)
  const store = mode === 'memory' ? ['--data', 'off'] : ['--data', folder, '--durability', mode]
  return {
    file: process.execPath,
    args: [join(root, 'dist/plugins/cli/main.js'), '--host', '127.0.0.1', '--log-format', 'quiet', '--port', String(port), '--ws-port', 'off', ...store],
    cleanUp: () => { removeFolder(folder) },
  }
}

function mosquitto (data: string, name: string, lines: readonly string[]): BrokerUnderTest | AbsentBroker {
  return mosquittoWith(name, configuration => {
    const folder = newFolder(data)
    return {
      // Started by root, it would become a user that cannot write there.
      lines: ['persistence true', `persistence_location ${folder}/`, `user ${userInfo().username}`, ...lines],
      cleanUp: () => { for (const made of [configuration, folder]) removeFolder(made) },
    }
  })
}

function aedesLevel (root: string, data: string): BrokerUnderTest | AbsentBroker {
  const peers = join(root, 'benchmarks/peers')
  const name = 'aedes level'
  if (!existsSync(join(peers, 'node_modules/aedes-persistence-level'))) return { name, absent: 'npm ci --prefix benchmarks/peers' }
  const version = `${versionIn(join(peers, 'node_modules/aedes'))} with aedes-persistence-level ${versionIn(join(peers, 'node_modules/aedes-persistence-level'))}`
  return { name, version, accesses: ['tcp'], protocolVersions: [4], command: port => aedesCommand(peers, data, port) }
}

function aedesCommand (peers: string, data: string, port: number): Command {
  const folder = newFolder(data)
  return { file: process.execPath, args: [join(peers, 'aedes.mjs'), String(port), 'tcp', folder], cleanUp: () => { removeFolder(folder) } }
}
