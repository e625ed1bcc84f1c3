import { isUtf8 } from 'node:buffer'

const units = [['d', 86_400], ['h', 3600], ['m', 60], ['s', 1]] as const
const sizes = [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]] as const
/** Characters of a text, and twice the bytes of anything else. */
const previewLength = 60

/** JSON in which nothing speaks to the terminal, hides or turns its neighbours round. */
export function harmless (json: string): string {
  return json.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, character =>
    Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''))
}

/** The text as it is where it cannot pass for anything else, else quoted and escaped: clients choose their names. */
export function printable (text: string): string {
  return /^[\w.:/+$#-]+$/.test(text) ? text : harmless(JSON.stringify(text))
}

/** Milliseconds in their two largest units: `3d 4h`, `59m 3s`, `now`. */
export function duration (milliseconds: number): string {
  let seconds = Math.ceil(milliseconds / 1000)
  const parts: string[] = []
  for (const [unit, length] of units) {
    const count = Math.floor(seconds / length)
    if (parts.length < 2 && seconds > 0 && (count > 0 || parts.length > 0)) parts.push(`${count}${unit}`)
    seconds -= count * length
  }
  return parts.filter(part => !part.startsWith('0')).join(' ') || 'now'
}

/** Bytes as people read them: `512 B`, `3.4 KiB`. */
export function size (bytes: number): string {
  const [unit, factor] = sizes.find(([, factor]) => bytes >= factor) ?? ['B', 1]
  return `${factor === 1 ? bytes : (bytes / factor).toFixed(1)} ${unit}`
}

/** The beginning of a payload, as text in quotes or in hexadecimal digits. */
export function preview (payload: Buffer): string {
  if (!isUtf8(payload)) return `0x${payload.toString('hex', 0, previewLength / 2)}${payload.length > previewLength / 2 ? '…' : ''}`
  // No character has more than four bytes, so what was cut in the middle of one is not shown.
  const characters = Array.from(payload.toString('utf8', 0, 4 * (previewLength + 1)))
  return harmless(JSON.stringify(characters.slice(0, previewLength).join(''))) + (characters.length > previewLength ? '…' : '')
}

/** A point in time; undefined for never. */
export function timeOf (milliseconds: number | undefined): string | undefined {
  return milliseconds === undefined || milliseconds === Infinity ? undefined : new Date(milliseconds).toISOString()
}
