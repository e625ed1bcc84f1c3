import { isIP } from 'node:net'
import { optionInvalid } from '../../lib/index.ts'

/** An address as eight groups of 16 bits; IPv4 as it is mapped into IPv6 (RFC 4291 section 2.5.5.2), so that both forms of it are one. */
export type Groups = readonly number[]

/** The addresses that begin with the same bits. */
export interface Network { readonly groups: Groups, readonly bits: number }

/** How many bits of an address tell who is behind it. */
export interface PrefixLengths { readonly ipv4: number, readonly ipv6: number }

const mappedBits = 96

/** The groups of an address, whatever its spelling, without its zone; undefined for what is none. */
export function parseAddress (text: string): Groups | undefined {
  const [address = ''] = text.split('%')
  const family = isIP(address)
  if (family === 0) return undefined
  return family === 4 ? [0, 0, 0, 0, 0, 0xffff, ...groupsOfIPv4(address)] : groupsOfIPv6(address)
}

function groupsOfIPv4 (text: string): number[] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number)
  return [a << 8 | b, c << 8 | d]
}

function groupsOfIPv6 (text: string): number[] {
  const [head = '', tail] = text.split('::')
  const before = groupsOf(head)
  const after = tail === undefined ? [] : groupsOf(tail)
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
}

function groupsOf (text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap(group => group.includes('.') ? groupsOfIPv4(group) : [parseInt(group, 16)])
}

function isIPv4 (groups: Groups): boolean {
  return groups[5] === 0xffff && groups.every((group, index) => index >= 5 || group === 0)
}

/** The bits of a group that belong to a prefix of that length. */
function masked (group: number, index: number, bits: number): number {
  const inside = Math.min(16, Math.max(0, bits - 16 * index))
  return group & (0xffff << (16 - inside)) & 0xffff
}

/** The one name of all addresses that share a prefix: `192.0.2.7`, `2001:db8:0:1::/64`. */
export function prefixOf (groups: Groups, { ipv4, ipv6 }: PrefixLengths): string {
  if (!isIPv4(groups)) return nameOfIPv6(groups.map((group, index) => masked(group, index, ipv6)), ipv6)
  const [, , , , , , high = 0, low = 0] = groups.map((group, index) => masked(group, index, mappedBits + ipv4))
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}${ipv4 === 32 ? '' : `/${ipv4}`}`
}

function nameOfIPv6 (groups: Groups, bits: number): string {
  const told = groups.slice(0, Math.ceil(bits / 16)).map(group => group.toString(16)).join(':')
  return `${told}${bits > 112 ? '' : '::'}${bits === 128 ? '' : `/${bits}`}`
}

/**
 * A network in CIDR notation, `10.0.0.0/8`, or a single address.
 * @throws MqttError for anything else
 */
export function parseNetwork (option: string, text: unknown): Network {
  const [address = '', length, ...rest] = typeof text === 'string' ? text.split('/') : []
  const groups = parseAddress(address)
  const longest = address.includes(':') ? 128 : 32
  const bits = length === undefined ? longest : /^\d{1,3}$/.test(length) ? Number(length) : NaN
  if (groups === undefined || rest.length > 0 || !(bits <= longest)) throw optionInvalid(option, 'addresses or networks such as 10.0.0.0/8', text)
  return { groups, bits: longest === 32 ? mappedBits + bits : bits }
}

/** Whether an address is in that network. */
export function isWithin (groups: Groups, network: Network): boolean {
  return groups.every((group, index) => masked(group, index, network.bits) === masked(network.groups[index] ?? 0, index, network.bits))
}
