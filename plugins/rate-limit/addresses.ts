import { optionInvalid, type ConnectionInfo } from '../../lib/index.ts'
import { isWithin, parseAddress, parseNetwork, prefixOf, type Network, type PrefixLengths } from './address.ts'

/** Tells which connections come from one place. */
export class Addresses {
  readonly #allowed: readonly Network[]
  readonly #lengths: PrefixLengths
  /** The address asked about last, which is mostly asked about again: one connection comes by several times. */
  #last: string | undefined = undefined
  #lastPlace: string | undefined = undefined

  /** @throws MqttError for what is no network */
  constructor (allow: readonly string[], lengths: Partial<PrefixLengths>) {
    this.#allowed = allow.map(network => parseNetwork('allow', network))
    this.#lengths = { ipv4: 32, ipv6: 64, ...lengths }
  }

  /** The name of the place; undefined for one that is not limited: a connection without an address, as over a unix socket, or one that is allowed. */
  placeOf ({ remoteAddress }: ConnectionInfo): string | undefined {
    if (remoteAddress === this.#last) return this.#lastPlace
    this.#last = remoteAddress
    return this.#lastPlace = remoteAddress === undefined ? undefined : this.#find(remoteAddress)
  }

  #find (remoteAddress: string): string | undefined {
    const groups = parseAddress(remoteAddress)
    if (groups === undefined) return remoteAddress.slice(0, 64) // what a proxy or a stream of the host's own calls an address
    return this.#allowed.some(network => isWithin(groups, network)) ? undefined : prefixOf(groups, this.#lengths)
  }

  /**
   * The same for what a person writes: an address, or the name of a place.
   * @throws MqttError for anything else, a wider network above all, of which only a part would be meant
   */
  named (text: string): string {
    const { groups } = parseNetwork('address', text)
    const place = prefixOf(groups, this.#lengths)
    if (text.includes('/') && text !== place) throw optionInvalid('address', `an address, or ${place}`, text)
    return place
  }
}
