import { isIPv4, isIPv6 } from './address.ts'

/**
 * The Client's address in `X-Forwarded-For`. `trustProxy` is true for the leftmost entry, which only a proxy that
 * replaces the header makes trustworthy, or the number of proxies in front, each of which has added one entry on
 * the right. Undefined where nothing is trusted, the header is absent or the entry is no address.
 */
export function forwardedAddress (header: string | readonly string[] | undefined, trustProxy: boolean | number | undefined): string | undefined {
  if (header === undefined || trustProxy === undefined || trustProxy === false || trustProxy === 0) return undefined
  const entries = String(header).split(',')
  const index = trustProxy === true ? 0 : Math.max(0, entries.length - trustProxy)
  return addressOf(entries[index]?.trim() ?? '')
}

/** Some proxies add the port, and brackets around IPv6. */
function addressOf (entry: string): string | undefined {
  const bare = /^\[([^\]]*)\](?::\d+)?$/.exec(entry)?.[1] ?? /^([\d.]+):\d+$/.exec(entry)?.[1] ?? entry
  return isIPv4(bare) || isIPv6(bare) ? bare : undefined
}
