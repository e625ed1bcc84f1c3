import { addressList, addressPrefix, optionInvalid, type AddressList, type ConnectionInfo, type PrefixLengths } from '../../lib/index.ts'

/** Tells which connections come from one place. */
export class Addresses {
  readonly #allowed: AddressList
  readonly #lengths: PrefixLengths
  /** The address asked about last, which is mostly asked about again: one connection comes by several times. */
  #last: string | undefined = undefined
  #lastPlace: string | undefined = undefined

  /** @throws MqttError for what is no network */
  constructor (allow: readonly string[], lengths: Partial<PrefixLengths>) {
    const allowed = addressList(allow)
    if (allowed === undefined) throw optionInvalid('allow', 'a list of addresses or networks such as 10.0.0.0/8', Array.isArray(allow) ? allow.map(String).join(', ') : allow)
    this.#allowed = allowed
    this.#lengths = { ipv4: 32, ipv6: 64, ...lengths }
  }

  /** The name of the place; undefined for one that is not limited: a connection without an address, as over a unix socket, or one that is allowed. */
  placeOf ({ remoteAddress }: ConnectionInfo): string | undefined {
    if (remoteAddress === this.#last) return this.#lastPlace
    this.#last = remoteAddress
    return this.#lastPlace = remoteAddress === undefined ? undefined : this.#find(remoteAddress)
  }

  #find (remoteAddress: string): string | undefined {
    if (this.#allowed.has(remoteAddress)) return undefined
    return addressPrefix(remoteAddress, this.#lengths) ?? remoteAddress.slice(0, 64) // what a proxy or a stream of the host's own calls an address
  }

  /**
   * The same for what a person writes: an address, or the name of a place.
   * @throws MqttError for anything else, a wider network above all, of which only a part would be meant
   */
  named (text: string): string {
    if (typeof text !== 'string') throw optionInvalid('address', 'an address', text)
    const [address = ''] = text.split('/')
    const place = addressPrefix(address, this.#lengths)
    if (place === undefined || (text.includes('/') && text !== place)) throw optionInvalid('address', `an address, or ${place ?? 'a network such as 2001:db8:0:1::/64'}`, text)
    return place
  }
}
