import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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

/** Starts a Mosquitto broker with those lines in its configuration; it is killed with the test. Debian has it in a folder that is not in everybody's PATH. */
export function mosquittoServer (t: Test, ...lines: string[]): ChildProcess {
  const folder = mkdtempSync(join(tmpdir(), 'myelin-')) // short: the path of a socket has 108 bytes at most
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  writeFileSync(join(folder, 'conf'), ['user root', `listener 0 ${join(folder, 'socket')}`, ...lines, ''].join('\n'))
  const child = spawn('mosquitto', ['-c', join(folder, 'conf')], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` } })
  t.teardown(() => { child.kill('SIGKILL') })
  return child
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
