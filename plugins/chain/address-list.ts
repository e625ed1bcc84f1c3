import { BlockList, isIP } from 'node:net'

/** Addresses and ranges of them: `10.0.0.0/8`, `2001:db8::/32`, `127.0.0.1`. Undefined when one of them is none. */
export function addressList (ranges: readonly string[]): BlockList | undefined {
  const list = new BlockList()
  return ranges.every(range => add(list, range)) ? list : undefined
}

/** Whether an address is in the list. An IPv4 address that came over IPv6 (`::ffff:…`) counts as what it is. */
export function hasAddress (list: BlockList, address: string): boolean {
  const [plain = ''] = address.split('%') // fe80::1%eth0: the network interface says nothing about who it is
  const version = isIP(plain)
  return version !== 0 && list.check(plain, version === 4 ? 'ipv4' : 'ipv6')
}

function add (list: BlockList, range: string): boolean {
  const [, address = '', prefix] = /^([\d.]+|[\da-f:.]+)(?:\/(\d{1,3}))?$/i.exec(range) ?? []
  const version = isIP(address)
  const bits = version === 4 ? 32 : 128
  const length = prefix === undefined ? bits : Number(prefix)
  if (version === 0 || length > bits) return false
  list.addSubnet(address, length, version === 4 ? 'ipv4' : 'ipv6')
  return true
}
