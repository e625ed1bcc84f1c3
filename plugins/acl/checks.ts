/** Whether a value is an object with fields, as `{}` makes one. */
export function isRecord (value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !(Symbol.iterator in value)
}

/** Whether a value is a text that is not empty. */
export function isText (value: unknown): value is string { return typeof value === 'string' && value !== '' }
