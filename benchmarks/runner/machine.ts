import { spawnSync } from 'node:child_process'
import { availableParallelism, cpus, platform, release, totalmem } from 'node:os'

/** Where, with what and of what the figures are. */
export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memoryGb: number
  readonly system: string
  readonly node: string
  /** Of the project, with `+` when the working tree differs from it. */
  readonly commit: string
  readonly date: string
}

export function describeMachine (root: string): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()}`,
    node: process.version,
    commit: commitOf(root),
    date: new Date().toISOString().slice(0, 10),
  }
}

/** The abbreviated name of HEAD. */
export function commitOf (root: string): string {
  const git = (...args: string[]): string => spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout.trim()
  const name = git('rev-parse', '--short', 'HEAD')
  return name === '' ? 'unknown' : name + (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+')
}
