/** Time as the broker sees it, so that tests can hold it. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now (): number
  /** Calls `task` every `intervalMs` milliseconds until the returned function is called. Does not keep the process alive. */
  every (intervalMs: number, task: () => void): () => void
  /** Calls `task` once after `delayMs` milliseconds unless the returned function is called first. Does not keep the process alive. */
  after (delayMs: number, task: () => void): () => void
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  every (intervalMs, task) {
    const timer = setInterval(task, intervalMs).unref()
    return () => { clearInterval(timer) }
  },
  after (delayMs, task) {
    const timer = setTimeout(task, delayMs).unref()
    return () => { clearTimeout(timer) }
  },
}
