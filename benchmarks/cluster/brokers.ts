import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { versionIn, type AbsentBroker, type Command } from '../runner/brokers.ts'

/** A broker that several processes are together. */
export interface ClusteredBroker {
  /** The command line calls it that. */
  readonly id: string
  readonly name: string
  readonly version: string
  command (port: number, redisPort: number): Command
}

/** The brokers; those that are not installed with what installs them. */
export function clusteredBrokers (root: string): (ClusteredBroker | AbsentBroker & Pick<ClusteredBroker, 'id'>)[] {
  return [myelin(root), aedes(root)]
}

function myelin (root: string): ClusteredBroker {
  const host = join(import.meta.dirname, '../servers', `cluster${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)
  return {
    id: 'myelin', name: 'myelin', version: versionIn(root),
    command: (port, redisPort) => ({ file: process.execPath, args: [host, String(port), root, String(redisPort)] }),
  }
}

function aedes (root: string): ClusteredBroker | AbsentBroker & Pick<ClusteredBroker, 'id'> {
  const peers = join(root, 'benchmarks/peers')
  const [id, name] = ['aedes', 'aedes on Redis']
  const packages = ['aedes', 'mqemitter-redis', 'aedes-persistence-redis']
  if (!packages.every(name => existsSync(join(peers, 'node_modules', name)))) return { id, name, absent: 'npm ci --prefix benchmarks/peers' }
  const [version, ...adapters] = packages.map(name => versionIn(join(peers, 'node_modules', name)))
  return {
    id, name, version: `${version ?? ''} with ${packages.slice(1).map((name, i) => `${name} ${adapters[i] ?? ''}`).join(' and ')}`,
    command: (port, redisPort) => ({ file: process.execPath, args: [join(peers, 'aedes-cluster.mjs'), String(port), String(redisPort)] }),
  }
}
