import type { MaybePromise } from '../../lib/index.ts'

/** What a handler has called back with. */
export interface Answer<T> {
  readonly error: Error | undefined
  readonly value: T | null | undefined
}

/**
 * Waits for a handler's callback, if it has not been called already: then the answer is there at once. The first call counts. An async handler
 * that rejects has thrown; after its answer it is too late for that, and Node.js prints a warning.
 */
export function answerOf<T> (ask: (done: (error?: Error | null, value?: T | null) => void) => unknown): MaybePromise<Answer<T>> {
  const given: Answer<T>[] = []
  const waiting: ((answer: MaybePromise<Answer<T>>) => void)[] = []
  const returned = ask((error, value) => {
    const answer = { error: error === undefined || error === null ? undefined : asError(error), value }
    given.push(answer)
    waiting.pop()?.(answer)
  })
  if (returned instanceof Promise) {
    returned.catch((error: unknown) => {
      if (given.length > 0) process.emitWarning(asError(error))
      else waiting.pop()?.(Promise.reject(asError(error)))
    })
  }
  return given[0] ?? new Promise(resolve => { waiting.push(resolve) })
}

/** Whatever a program in JavaScript throws or calls back with. */
function asError (error: unknown): Error { return error instanceof Error ? error : new Error(String(error)) }

/** Goes on with an answer, at once if it is there. */
export function then<T, R> (answer: MaybePromise<T>, next: (answer: T) => MaybePromise<R>): MaybePromise<R> {
  return answer instanceof Promise ? answer.then(next) : next(answer)
}
