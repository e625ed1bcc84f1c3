import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { shown } from './rounds.ts'
import type { Scenario } from './scenarios.ts'
import { median, pairedRatio } from './statistics.ts'
import type { Result } from './trial.ts'

/** Another commit, built in a folder of its own. */
export interface Checkout {
  readonly folder: string
  /** The abbreviated name of the commit. */
  readonly commit: string
  remove (): void
}

/** The names of the two in results. */
export const before = 'before'
export const after = 'after'

/** Checks a commit out beside the working tree and builds it with this project's packages. @throws Error with what git or the compiler said */
export function checkOut (root: string, commit: string): Checkout {
  const git = (...args: string[]): string => execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
  const name = git('rev-parse', '--short', '--verify', `${commit}^{commit}`)
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  const tree = join(folder, 'tree')
  const remove = (): void => {
    rmSync(folder, { recursive: true, force: true })
    git('worktree', 'prune')
  }
  try {
    git('worktree', 'add', '--detach', tree, name)
    symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
    execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'], { cwd: tree, stdio: ['ignore', 'inherit', 'inherit'] })
  } catch (error) {
    remove()
    throw error
  }
  return { folder: tree, commit: name, remove }
}

/** The ratios of after to before, round by round. */
function ratiosOf (results: readonly Result[], scenario: string, key: string): number[] {
  const valueOf = (broker: string, round: number): number | undefined =>
    results.find(result => result.scenario === scenario && result.broker === broker && result.round === round && result.failed === undefined)?.figures[key]
  return results.filter(result => result.scenario === scenario && result.broker === after).flatMap(({ round }) => {
    const [old, young] = [valueOf(before, round), valueOf(after, round)]
    return old === undefined || young === undefined || old === 0 ? [] : [young / old]
  })
}

function line (results: readonly Result[], { id, title, figures: [figure] }: Scenario): string {
  if (figure === undefined) return ''
  const middle = (broker: string): string => {
    const value = median(results.filter(result => result.scenario === id && result.broker === broker).flatMap(({ figures }) => figures[figure.key] ?? []))
    return value === undefined ? '–' : shown(value)
  }
  const interval = pairedRatio(ratiosOf(results, id, figure.key))
  const told = interval === undefined ? ['–', '–', ''] : [interval.ratio.toFixed(3), `${interval.low.toFixed(3)} … ${interval.high.toFixed(3)}`, verdict(interval.low, interval.high, figure.better)]
  return `| ${[title, figure.label, middle(before), middle(after), ...told].join(' | ')} |`
}

function verdict (low: number, high: number, better: 'less' | 'more'): string {
  if (low <= 1 && high >= 1) return 'no difference shown'
  return (high < 1) === (better === 'less') ? 'better' : 'worse'
}

/** The comparison as Markdown. */
export function comparison (results: readonly Result[], scenarios: readonly Scenario[], rounds: number, commits: { before: string, after: string }): string {
  const bad = results.filter(({ failed, figures }) => failed !== undefined || (figures['lost'] ?? 0) > 0)
  return [
    `# ${commits.after} (after) against ${commits.before} (before)\n`,
    `${rounds} rounds, one after the other in turns; medians, and the geometric mean of the ratios of each round with its 95 % interval.\n`,
    '| work | figure | before | after | after ÷ before | 95 % | |', '| --- | --- | ---: | ---: | ---: | --- | --- |',
    ...scenarios.map(scenario => line(results, scenario)),
    ...bad.map(({ scenario, broker, round, failed, figures }) => `\n${scenario}, ${broker}, round ${round}: ${failed ?? `lost ${figures['lost'] ?? 0}`}`),
    '',
  ].join('\n')
}
