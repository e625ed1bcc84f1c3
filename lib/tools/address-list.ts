import { isIPv4, isIPv6 } from '../connection/proxy/address.ts'

/** Addresses and networks, as {@link addressList} has read them. */
export interface AddressList {
  /** Whether an address, such as `connection.remoteAddress`, is among them. What is no address is not. */
  has (address: string): boolean
}

/** How many bits at the beginning of an address tell who is behind it: 0 to 32 of IPv4, 0 to 128 of IPv6. */
export interface PrefixLengths { readonly ipv4: number, readonly ipv6: number }

/** An address as eight groups of 16 bits; IPv4 as it is mapped into IPv6 (RFC 4291 section 2.5.5.2), so that both forms of it are one. */
type Groups = readonly number[]

/** The addresses that begin with the same bits. */
interface Network { readonly groups: Groups, readonly bits: number }

const mappedBits = 96

/**
 * Reads a list of addresses and networks: `127.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`. An IPv4 address that comes over IPv6 (`::ffff:192.0.2.7`) counts as
 * what it is, and the zone of an address (`fe80::1%eth0`) does not count.
 * @returns undefined when one of them is none
 */
export function addressList (ranges: readonly string[]): AddressList | undefined {
  if (!Array.isArray(ranges)) return undefined
  const networks = ranges.flatMap((range: unknown) => (typeof range === 'string' ? networkOf(range) : undefined) ?? [])
  if (networks.length < ranges.length) return undefined
  return {
    has (address) {
      const groups = groupsOf(address)
      return groups !== undefined && networks.some(network => isWithin(groups, network))
    },
  }
}

/**
 * The one name of all addresses that share a prefix, to count or to keep by: `192.0.2.7`, `198.51.100.0/24`, `2001:db8:0:1::/64`.
 * @param lengths Default 32 bits of IPv4 and 64 of IPv6, which is what one customer has: by single IPv6 addresses nobody can be counted
 * @returns undefined for what is no address
 */
export function addressPrefix (address: string, { ipv4, ipv6 }: PrefixLengths = { ipv4: 32, ipv6: 64 }): string | undefined {
  const groups = groupsOf(address)
  if (groups === undefined) return undefined
  if (!isMapped(groups)) return nameOfIPv6(groups.map((group, index) => masked(group, index, ipv6)), ipv6)
  const [, , , , , , high = 0, low = 0] = groups.map((group, index) => masked(group, index, mappedBits + ipv4))
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}${ipv4 === 32 ? '' : `/${ipv4}`}`
}

function groupsOf (text: unknown): Groups | undefined {
  if (typeof text !== 'string') return undefined
  const [address = ''] = text.split('%')
  if (isIPv4(address)) return [0, 0, 0, 0, 0, 0xffff, ...groupsOfIPv4(address)]
  return isIPv6(address) ? groupsOfIPv6(address) : undefined
}

function groupsOfIPv4 (text: string): number[] {
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number)
  return [a << 8 | b, c << 8 | d]
}

function groupsOfIPv6 (text: string): number[] {
  const [before = [], after = []] = text.split('::').map(groupsBetween)
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
}

function groupsBetween (text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap(group => group.includes('.') ? groupsOfIPv4(group) : [parseInt(group, 16)])
}

function isMapped (groups: Groups): boolean {
  return groups[5] === 0xffff && groups.every((group, index) => index >= 5 || group === 0)
}

/** The bits of a group that belong to a prefix of that length. */
function masked (group: number, index: number, bits: number): number {
  const inside = Math.min(16, Math.max(0, bits - 16 * index))
  return group & (0xffff << (16 - inside)) & 0xffff
}

function nameOfIPv6 (groups: Groups, bits: number): string {
  const told = groups.slice(0, Math.ceil(bits / 16)).map(group => group.toString(16)).join(':')
  return `${told}${bits > 112 ? '' : '::'}${bits === 128 ? '' : `/${bits}`}`
}

function networkOf (range: string): Network | undefined {
  const [, address = '', prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(range) ?? []
  const groups = groupsOf(address)
  const longest = address.includes(':') ? 128 : 32
  const bits = prefix === undefined ? longest : Number(prefix)
  if (groups === undefined || bits > longest) return undefined
  return { groups, bits: longest === 32 ? mappedBits + bits : bits }
}

function isWithin (groups: Groups, { groups: first, bits }: Network): boolean {
  return groups.every((group, index) => masked(group, index, bits) === masked(first[index] ?? 0, index, bits))
}
