import { isUtf8 } from '../base/utf8.ts'

/** How values stand in a payload. Whatever it throws says that a payload, or a value, is none of its kind. */
export interface PayloadCodec<Value, Decoded = Value> {
  encode (value: Value): string | Uint8Array
  /** @param payload never to be written to */
  decode (payload: Buffer): Decoded
}

/** Payloads that are UTF-8 text. */
export const textCodec: PayloadCodec<string> = {
  encode: value => value,
  decode (payload) {
    if (!isUtf8(payload)) throw new TypeError('it is not well-formed UTF-8')
    return payload.toString()
  },
}

/** Payloads that are JSON. */
export const jsonCodec: PayloadCodec<unknown> = {
  encode (value) {
    const text = JSON.stringify(value) as string | undefined
    if (text === undefined) throw new TypeError('it has no JSON')
    return text
  },
  decode: payload => JSON.parse(textCodec.decode(payload)) as unknown,
}
