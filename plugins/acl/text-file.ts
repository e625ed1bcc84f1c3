import { isUtf8 } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import { fileInvalid } from '../../lib/index.ts'

/**
 * The text of a file of rules.
 * @throws MqttError `MQTT_FILE_INVALID` when it cannot be read, or is no text
 */
export async function readTextFile (path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw fileInvalid(path, `cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, undefined, { cause })
  })
  if (!isUtf8(bytes) || bytes.includes(0)) throw fileInvalid(path, 'is no text in UTF-8')
  return bytes.toString()
}
