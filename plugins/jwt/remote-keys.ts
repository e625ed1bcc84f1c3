import { createLocalJWKSet, errors, type JWTVerifyGetKey } from 'jose'
import { ErrorCode, MqttError, ReasonCode, type Broker, type Clock } from '../../lib/index.ts'
import { parseKeySet } from './key-set.ts'
import type { Keys } from './keys.ts'
import type { KeySetOptions } from './options.ts'

/** There are no keys that could be believed: the Client is not to blame, and may come again. */
export class KeysUnavailable extends Error {}

/**
 * A key set at a URL. It is asked for when the broker starts, again every `refreshSeconds`, and when a token names a key that is not in it, which is how
 * a new key becomes known; never more often than `cooldownSeconds`, and never twice at a time. An answer that is no key set leaves the keys as they were.
 */
export class RemoteKeys implements Keys {
  version = 0
  readonly #url: URL
  readonly #options: Required<KeySetOptions>
  #broker: Broker | undefined = undefined
  #find: JWTVerifyGetKey | undefined = undefined
  #text = ''
  #confirmedAt = -Infinity
  #askedAt = -Infinity
  #request: Promise<void> | undefined = undefined
  #stop: (() => void) | undefined = undefined

  constructor (url: URL, options: Required<KeySetOptions>) {
    this.#url = url
    this.#options = options
  }

  get areUsable (): boolean { return this.#age <= this.#options.staleSeconds }

  readonly find: JWTVerifyGetKey = async (header, token) => {
    try {
      return await this.#look(header, token)
    } catch (error) {
      if (!(error instanceof KeysUnavailable || error instanceof errors.JWKSNoMatchingKey)) throw error
      if (this.#request === undefined && this.#isCoolingDown) throw error
      await this.#refresh()
      return await this.#look(header, token)
    }
  }

  /** The broker starts without the keys, and lets nobody in by a token until they are there. */
  async setup (broker: Broker): Promise<void> {
    this.#broker = broker
    const { protocol, hostname } = this.#url
    if (protocol === 'http:' && !['localhost', '127.0.0.1', '[::1]'].includes(hostname)) {
      broker.logger.warn({ jwks: this.#place }, 'the key set is fetched without TLS: whoever is on the way can put in a key')
    }
    this.#stop = broker.clock.every(this.#options.cooldownSeconds * 1000, () => { if (this.#age >= this.#options.refreshSeconds) void this.#refresh() })
    await this.#refresh()
  }

  async reload (): Promise<void> {
    this.#request ??= this.#fetch().finally(() => { this.#request = undefined })
    await this.#request
  }

  close (): void { this.#stop?.() }

  /** Where the set is, without a query that might be a secret. */
  get #place (): string { return this.#url.origin + this.#url.pathname }

  /** Seconds since the keys were last seen at their URL. */
  get #age (): number { return ((this.#broker?.clock.now() ?? Infinity) - this.#confirmedAt) / 1000 }

  get #isCoolingDown (): boolean {
    return this.#broker === undefined || this.#broker.clock.now() - this.#askedAt < this.#options.cooldownSeconds * 1000
  }

  readonly #look: JWTVerifyGetKey = (header, token) => {
    if (this.#find === undefined || !this.areUsable) throw new KeysUnavailable('there are no keys to verify it with')
    return this.#find(header, token)
  }

  /** As `reload`, but what goes wrong is logged. */
  async #refresh (): Promise<void> {
    const isMine = this.#request === undefined
    try {
      await this.reload()
    } catch (error) {
      const stays = this.areUsable ? 'the keys stay as they were' : 'nobody is let in by a token'
      if (isMine) this.#broker?.logger.error({ err: error, jwks: this.#place }, `${(error as Error).message}; ${stays}`)
    }
  }

  async #fetch (): Promise<void> {
    if (this.#broker === undefined) throw this.#fault('the broker has not started')
    const { clock } = this.#broker
    this.#askedAt = clock.now()
    const text = await fetchText(this.#url, this.#options, clock).catch((error: unknown) => { throw this.#fault((error as Error).message, error) })
    const set = parseKeySet(text, fault => this.#fault(fault))
    this.#confirmedAt = clock.now()
    if (text === this.#text) return
    this.#find = createLocalJWKSet(set)
    this.#text = text
    this.version++
  }

  #fault (fault: string, cause?: unknown): MqttError {
    return new MqttError(ErrorCode.fileInvalid, ReasonCode.implementationSpecificError, `the key set at ${this.#place}: ${fault}`, { cause })
  }
}

/** What is at a URL: an answer of 200 in time, of a size that is bearable, and from there, not from where it was sent on to. */
async function fetchText (url: URL, { timeoutMs, maximumBytes }: Required<KeySetOptions>, clock: Clock): Promise<string> {
  const abort = new AbortController()
  const stop = clock.after(timeoutMs, () => { abort.abort(new Error(`no answer within ${timeoutMs} ms`)) })
  try {
    const response = await fetch(url, { redirect: 'manual', signal: abort.signal, headers: { accept: 'application/jwk-set+json, application/json' } })
    if (response.status !== 200 || response.body === null) throw new Error(`the answer was ${response.status}`)
    return await readText(response.body, maximumBytes)
  } finally {
    stop()
    abort.abort() // of an answer that was not wanted, the rest is not read
  }
}

async function readText (body: AsyncIterable<Uint8Array>, maximumBytes: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > maximumBytes) throw new Error(`the answer is longer than ${maximumBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
