import type { IPublishPacket } from 'mqtt'

/** Properties of a PUBLISH as the `mqtt` package has them. */
export type Properties = NonNullable<IPublishPacket['properties']>

/** What says something about the content, and goes under the seal with it. */
const sealedNames = ['payloadFormatIndicator', 'contentType', 'responseTopic', 'correlationData'] as const

/** A message as it is under the seal. */
export interface Content { readonly payload: Buffer, readonly properties: Properties | undefined }

/** Splits properties into those that go under the seal and those that travel as they are. */
function split (properties: Properties): { sealed: Properties, open: Properties } {
  const sealed: Properties = {}
  const open: Properties = { ...properties }
  for (const name of sealedNames) {
    if (properties[name] !== undefined) Object.assign(sealed, { [name]: properties[name] })
    Reflect.deleteProperty(open, name)
  }
  return { sealed, open }
}

/** Two bytes of length, as much JSON about the content, which may be none, and the payload. */
export function encodeContent (payload: Buffer, properties: Properties = {}): { plainText: Buffer, open: Properties } {
  const { sealed: { correlationData, ...told }, open } = split(properties)
  const fields = { ...told, ...(correlationData === undefined ? {} : { correlationData: correlationData.toString('base64') }) }
  const header = Object.keys(fields).length === 0 ? Buffer.alloc(0) : Buffer.from(JSON.stringify(fields))
  const length = Buffer.alloc(2)
  length.writeUInt16BE(header.length)
  return { plainText: Buffer.concat([length, header, payload]), open }
}

/** The other way round; undefined for what no {@link encodeContent} has made. */
export function decodeContent (plainText: Buffer): Content | undefined {
  if (plainText.length < 2) return undefined
  const end = 2 + plainText.readUInt16BE(0)
  if (end > plainText.length) return undefined
  const payload = plainText.subarray(end)
  return end === 2 ? { payload, properties: undefined } : { payload, properties: parsed(plainText.toString('utf8', 2, end)) }
}

/** Written by somebody who has the key; only what is known of it is taken over. */
function parsed (header: string): Properties {
  const { payloadFormatIndicator, contentType, responseTopic, correlationData } = JSON.parse(header) as Record<string, unknown>
  return {
    ...(typeof payloadFormatIndicator === 'boolean' ? { payloadFormatIndicator } : {}),
    ...(typeof contentType === 'string' ? { contentType } : {}),
    ...(typeof responseTopic === 'string' ? { responseTopic } : {}),
    ...(typeof correlationData === 'string' ? { correlationData: Buffer.from(correlationData, 'base64') } : {}),
  }
}
