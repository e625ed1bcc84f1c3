import { isOptions } from '../../base/checks.ts'
import { optionInvalid, optionUnknown } from '../../base/errors.ts'
import type { Message } from '../../contract/message.ts'
import type { MessageProperties, Properties } from '../../packet/packets.ts'

type Check = readonly [expected: string, isRight: (value: unknown) => boolean]

const text: Check = ['a text', value => typeof value === 'string']

const messageProperties: ReadonlyMap<string, Check> = new Map<keyof MessageProperties, Check>([
  ['payloadFormatIndicator', ['0 or 1', value => value === 0 || value === 1]],
  ['messageExpiryInterval', ['seconds, 0 to 0xFFFFFFFF', value => Number.isInteger(value) && value as number >= 0 && value as number <= 0xffffffff]],
  ['contentType', text],
  ['responseTopic', text],
  ['correlationData', ['a Buffer', value => value instanceof Uint8Array]],
  ['userProperties', ['a list of [name, value]', value => Array.isArray(value) && value.every(isPair)]],
])
/** What else the properties of a message may have that has come in, and is passed on. */
const arriving: ReadonlySet<string> = new Set<keyof Properties>(['topicAlias', 'subscriptionIdentifiers', 'willDelayInterval'])

const longestProperties = 1024 * 1024

function isPair (value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'string' && typeof value[1] === 'string'
}

/** @throws MqttError that names the property that there is not, or that is wrong: it would come to light at the first subscriber only */
export function checkProperties (properties: MessageProperties | undefined): void {
  if (properties === undefined) return
  if (!isOptions(properties)) throw optionInvalid('properties', 'an object', properties)
  for (const name in properties) {
    const value = (properties as Readonly<Record<string, unknown>>)[name]
    const check = messageProperties.get(name)
    if (check === undefined ? !arriving.has(name) && Object.hasOwn(properties, name) : value !== undefined && !check[1](value)) throw wrong(name, value)
  }
}

function wrong (name: string, value: unknown): Error {
  const [expected] = messageProperties.get(name) ?? []
  return expected === undefined ? optionUnknown(`properties.${name}`, messageProperties.keys()) : optionInvalid(`properties.${name}`, expected, value)
}

/** @throws MqttError, or TypeError, for what cannot be encoded */
export function checkEncoding ({ encodedProperties }: Message): void {
  if (encodedProperties.length > longestProperties) throw new TypeError(`properties must not take more than ${longestProperties} bytes`)
}
