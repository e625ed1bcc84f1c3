import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { availableParallelism } from 'node:os'

/** Where the broker runs, and where the load. */
export const brokerCore = '0'
export const loadCore = '1'
const startSeconds = 120
const stopSeconds = 5

/** Whether broker and load each have a core of their own. */
export const isPinned: boolean = availableParallelism() > 1 && spawnSync('taskset', ['-c', loadCore, 'true']).status === 0

/** Starts a program on a core, where that is possible; it ends with `signal`. */
export function spawnOn (core: string, file: string, args: readonly string[], stdio: ('ignore' | 'pipe')[], signal: AbortSignal): ChildProcess {
  const command = isPinned ? ['taskset', '-c', core, file] : [file]
  const child = spawn(command[0] ?? file, [...command.slice(1), ...args], { stdio, signal })
  child.on('error', () => undefined) // told by its exit code, or aborted
  return child
}

/** Resolves when a server can be reached. @throws Error when it ends, or takes too long */
export async function listening (server: ChildProcess, port: number, problems: Promise<string>): Promise<void> {
  const end = performance.now() + startSeconds * 1000
  while (!await accepts(port)) {
    if (server.exitCode !== null) throw new Error(`the broker did not start: ${(await problems).replace(/^\d+: /gm, '').trim().slice(-200)}`)
    if (performance.now() > end) throw new Error('the broker did not start in time')
    await pause(0.05)
  }
}

function accepts (port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => { socket.destroy(); resolve(true) })
    socket.on('error', () => { resolve(false) })
  })
}

/** Ends a process, by force if it does not end by itself. */
export async function stop (server: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  const closed = once(server, 'exit')
  server.kill(signal)
  const timer = setTimeout(() => { server.kill('SIGKILL') }, stopSeconds * 1000)
  await closed
  clearTimeout(timer)
}

export function pause (seconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, seconds * 1000))
}
