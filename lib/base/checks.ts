import { optionInvalid, optionUnknown } from './errors.ts'

export function isObject (value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Whether a value may have options: not a list, a Map or a promise, which have none, and so none that is wrong. */
export function isOptions (value: unknown): value is object {
  return isObject(value) && !(Symbol.iterator in value) && !('then' in value)
}

/**
 * @param prefix of the names in errors, for options inside an option: `limits.`
 * @throws MqttError for what is no object, or an option that has none of those names: a misspelt one would be left out in silence
 */
export function checkNames (options: object, names: readonly string[], prefix: string = ''): void {
  if (!isOptions(options)) throw optionInvalid(prefix.slice(0, -1) || 'options', 'an object', options)
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) throw optionUnknown(prefix + name, names)
  }
}

/** @throws MqttError that names the option, unless it is absent or a whole number within the bounds */
export function checkNumber (option: string, value: unknown, minimum: number, maximum: number): void {
  if (value === undefined) return
  const isRight = typeof value === 'number' && Number.isInteger(value) && value >= minimum && value <= maximum
  if (!isRight) throw optionInvalid(option, `a whole number from ${minimum} to ${maximum}`, value)
}

/** @throws MqttError that names the option, unless it is absent or a text that is not empty */
export function checkText (option: string, value: unknown): void {
  if (value !== undefined && (typeof value !== 'string' || value === '')) throw optionInvalid(option, 'a text that is not empty', value)
}

/** @throws MqttError that names the option, unless it is absent, true or false */
export function checkBoolean (option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean') throw optionInvalid(option, 'true or false', value)
}

/** @throws MqttError that names the option, unless it is absent or one of the choices */
export function checkOneOf (option: string, value: unknown, choices: readonly unknown[]): void {
  if (value !== undefined && !choices.includes(value)) throw optionInvalid(option, `one of ${choices.join(', ')}`, value)
}
