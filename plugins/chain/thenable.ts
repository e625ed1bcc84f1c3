/** Whether an answer is still to come. Hooks may return promises of any make. */
export function isThenable (value: unknown): value is PromiseLike<never> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
