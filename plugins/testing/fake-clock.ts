import { setImmediate } from 'node:timers' // not that of the program, which a test runner may have put another in the place of
import type { Clock } from '../../lib/index.ts'

interface Task { at: number, readonly everyMs: number | undefined, readonly run: () => void, readonly setBy: string }

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  #now: number
  readonly #tasks = new Set<Task>()

  /** @param now milliseconds since the epoch */
  constructor (now = 1_000_000_000_000) { this.#now = now }

  now (): number { return this.#now }

  every (intervalMs: number, run: () => void): () => void { return this.#add({ at: this.#now + intervalMs, everyMs: intervalMs, run, setBy: caller() }) }

  after (delayMs: number, run: () => void): () => void { return this.#add({ at: this.#now + delayMs, everyMs: undefined, run, setBy: caller() }) }

  /** Tasks that wait: none when everything that was started was also stopped. */
  get pending (): number { return this.#tasks.size }

  /** The same for people, with the place in the code that set each. */
  get pendingTasks (): readonly string[] {
    return [...this.#tasks].map(({ at, everyMs, setBy }) => `${everyMs === undefined ? `in ${at - this.#now} ms` : `every ${everyMs} ms`}, ${setBy}`)
  }

  /** Lets what is under way come to rest, and moves time on, running what falls due in its order and letting what it caused happen. */
  async advance (ms: number): Promise<void> {
    await settled()
    const end = this.#now + ms
    for (let task = this.#next(end); task !== undefined; task = this.#next(end)) {
      this.#now = task.at
      if (task.everyMs === undefined) this.#tasks.delete(task)
      else task.at += task.everyMs
      task.run()
      await settled()
    }
    this.#now = end
    await settled()
  }

  #add (task: Task): () => void {
    this.#tasks.add(task)
    return () => { this.#tasks.delete(task) }
  }

  #next (end: number): Task | undefined {
    return [...this.#tasks].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
  }
}

/** Resolves when whatever was under way in this process has come to rest: several turns of the event loop. */
export async function settled (): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await new Promise(resolve => { setImmediate(resolve) })
}

function caller (): string {
  const frames = new Error().stack?.split('\n').slice(1) ?? []
  return frames.find(frame => !frame.includes(import.meta.url) && !frame.includes(import.meta.filename))?.trim() ?? 'from an unknown place'
}
