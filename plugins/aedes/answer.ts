import type { MaybePromise } from '../../lib/index.ts'

/** What a handler has called back with. */
export interface Answer<T> {
  readonly error: Error | undefined
  readonly value: T | null | undefined
}

/** Waits for a handler's callback, if it has not been called already: then the answer is there at once. The first call counts. */
export function answerOf<T> (ask: (done: (error?: Error | null, value?: T | null) => void) => void): MaybePromise<Answer<T>> {
  const given: Answer<T>[] = []
  const waiting: ((answer: Answer<T>) => void)[] = []
  ask((error, value) => {
    const answer = { error: error ?? undefined, value }
    given.push(answer)
    waiting.pop()?.(answer)
  })
  return given[0] ?? new Promise(resolve => { waiting.push(resolve) })
}

/** Goes on with an answer, at once if it is there. */
export function then<T, R> (answer: MaybePromise<T>, next: (answer: T) => MaybePromise<R>): MaybePromise<R> {
  return answer instanceof Promise ? answer.then(next) : next(answer)
}
