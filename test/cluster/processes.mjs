import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Starts a program that goes when this one does. */
export function start (file, args, stdio = ['ignore', 'pipe', 'inherit']) {
  const child = spawn(file, args, { stdio })
  child.once('error', error => { throw error })
  process.once('exit', () => { child.kill('SIGKILL') })
  return child
}

/** What `find` makes of the first line for which it makes something. */
export async function told (child, find) {
  for await (const line of createInterface({ input: child.stdout })) {
    const found = find(line)
    if (found !== undefined) {
      child.stdout.resume()
      return found
    }
  }
  throw new Error(`${child.spawnargs.join(' ')} ended before it was ready: was it built (npm run build)?`)
}

/** A `redis-server` that keeps nothing; its port. */
export async function startRedis () {
  const port = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'myelin-'))
  process.once('exit', () => { rmSync(folder, { recursive: true, force: true }) })
  const redis = start('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'])
  return told(redis, line => line.includes('Ready to accept connections') ? port : undefined)
}

/** So many nodes of one cluster; their ports. */
export async function startNodes (count, options) {
  const nodes = []
  for (let i = 1; i <= count; i++) {
    const node = start(process.execPath, [join(import.meta.dirname, 'node.mjs'), '--name', `node-${i}`, ...options])
    nodes.push(await told(node, line => line.startsWith('{') ? JSON.parse(line) : undefined))
  }
  return nodes
}

async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}
