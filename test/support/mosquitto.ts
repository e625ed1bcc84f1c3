import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'

/** The version of Mosquitto's command line clients; undefined where they are not installed. */
export function mosquittoVersion (): string | undefined {
  const { error, stdout } = spawnSync('mosquitto_sub', ['--help'], { encoding: 'utf8' })
  return error === undefined ? /libmosquitto (\d+(?:\.\d+)*)/.exec(stdout)?.[1] ?? 'unknown' : undefined
}

/** One of Mosquitto's clients at work. */
export interface MosquittoRun {
  readonly child: ChildProcess
  /** What it printed, once it has ended. Rejects when its exit code is not 0. */
  readonly output: Promise<string>
}

/** Starts `mosquitto_pub`, `mosquitto_sub` or `mosquitto_rr` against a port of this machine; it is killed with the test. */
export function mosquitto (t: Test, program: 'pub' | 'sub' | 'rr', port: number, ...args: string[]): MosquittoRun {
  const child = spawn(`mosquitto_${program}`, ['-h', '127.0.0.1', '-p', String(port), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const output = outputOf(child)
  output.catch(() => undefined) // it may be killed before anybody asks
  return { child, output }
}

async function outputOf (child: ChildProcess): Promise<string> {
  const [out, problems, [code]] = await Promise.all([text(child.stdout as NodeJS.ReadableStream), text(child.stderr as NodeJS.ReadableStream), once(child, 'exit')]) as [string, string, [number | null]]
  if (code !== 0) throw new Error(`${child.spawnfile} ended with ${String(code)}: ${problems}`)
  return out
}
