import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { rotated } from '../runner/rounds.ts'
import { again, type VariantId } from './variants.ts'

/** Nanoseconds of CPU time for each delivery, round by round; `none` twice, since what differs between the two is not the plugins' doing. */
export type Samples = ReadonlyMap<VariantId | typeof again, readonly number[]>

const program = join(import.meta.dirname, `traffic${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)
const warmingRounds = 20

class Contestant {
  readonly samples: number[] = []
  readonly name: VariantId | typeof again
  readonly #child: ChildProcess

  constructor (root: string, name: VariantId | typeof again, scenario: string, signal: AbortSignal) {
    this.name = name
    this.#child = fork(program, [root, name === again ? 'none' : name, scenario], { signal })
    this.#child.on('error', () => undefined) // aborted
  }

  async ready (): Promise<void> { await once(this.#child, 'message') }

  async round (): Promise<void> {
    this.#child.send('round')
    const [ns] = await once(this.#child, 'message') as [number]
    this.samples.push(ns)
  }

  end (): void { this.#child.kill() }
}

/** Runs variants in turns, each in a process of its own, with the same messages in the same turns of the event loop. */
export async function steadily (root: string, ids: readonly VariantId[], scenario: string, rounds: number, signal: AbortSignal): Promise<Samples> {
  const contestants = [...ids, again].map(id => new Contestant(root, id, scenario, signal))
  try {
    await Promise.all(contestants.map(contestant => contestant.ready()))
    for (let round = 0; round < warmingRounds + rounds; round++) {
      if (round === warmingRounds) for (const { samples } of contestants) samples.length = 0
      for (const contestant of rotated(contestants, round)) await contestant.round()
    }
    return new Map(contestants.map(({ name, samples }) => [name, samples]))
  } finally {
    for (const contestant of contestants) contestant.end()
  }
}
