import { malformed } from './errors.ts'

// `fatal` refuses surrogates, overlong forms and cut sequences [MQTT-1.5.4-1]; `ignoreBOM` keeps U+FEFF [MQTT-1.5.4-3].
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Whether all bytes are ASCII without U+0000: such text needs no further check. */
function isPlainAscii (bytes: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number
    if (byte === 0 || byte > 0x7f) return false
  }
  return true
}

/**
 * Decodes a UTF-8 Encoded String (MQTT 5.0 section 1.5.4).
 * @throws MqttError Malformed Packet for ill-formed UTF-8 or U+0000
 */
export function decodeUtf8 (bytes: Buffer, start: number, end: number): string {
  if (isPlainAscii(bytes, start, end)) return bytes.toString('latin1', start, end)
  try {
    const text = decoder.decode(bytes.subarray(start, end))
    if (!text.includes('\u0000')) return text
  } catch {
    throw malformed('a string is not well-formed UTF-8 [MQTT-1.5.4-1]')
  }
  throw malformed('a string contains U+0000 [MQTT-1.5.4-2]')
}

/** Whether bytes are well-formed UTF-8, as a payload with Payload Format Indicator 1 must be (section 3.3.2.3.2). */
export function isUtf8 (bytes: Uint8Array): boolean {
  try {
    decoder.decode(bytes)
    return true
  } catch {
    return false
  }
}
