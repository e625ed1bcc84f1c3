import type { Duplex } from 'node:stream'
import { ErrorCode, MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { Clock } from '../../contract/clock.ts'
import { ProxyHeader, type ProxyAddress } from './proxy-protocol.ts'

type Done = (error: MqttError | undefined, address: ProxyAddress | undefined) => void

/**
 * Reads the PROXY protocol header that comes before the first packet. Calls back once, with the address that the proxy told
 * (undefined where it told none) after putting back what follows it, or with the error, after which the stream is destroyed.
 */
export function readProxyHeader (stream: Duplex, clock: Clock, timeoutMs: number, done: Done): void {
  new HeaderReader(stream, done).start(clock, timeoutMs)
}

class HeaderReader {
  readonly #stream: Duplex
  readonly #done: Done
  readonly #header = new ProxyHeader()
  #cancel: (() => void) | undefined = undefined

  constructor (stream: Duplex, done: Done) {
    this.#stream = stream
    this.#done = done
  }

  start (clock: Clock, timeoutMs: number): void {
    this.#cancel = clock.after(timeoutMs, () => { this.#refuse(invalid(`it did not come within ${timeoutMs} ms`)) })
    this.#stream.on('data', this.#onData).on('end', this.#onGone).on('close', this.#onGone).on('error', this.#onGone)
  }

  readonly #onData = (chunk: Buffer): void => {
    try {
      const result = this.#header.push(chunk)
      if (result !== undefined) this.#finish(result.address, result.rest)
    } catch (error) {
      this.#refuse(error instanceof MqttError ? error : invalid('it cannot be read', error))
    }
  }

  readonly #onGone = (): void => { this.#refuse(invalid('the connection ended before it was complete')) }

  #finish (address: ProxyAddress | undefined, rest: Buffer): void {
    this.#stop()
    this.#stream.off('error', this.#onGone)
    if (rest.length > 0) this.#stream.unshift(rest)
    this.#done(undefined, address)
  }

  #refuse (error: MqttError): void {
    this.#stop()
    this.#stream.destroy()
    this.#done(error, undefined)
  }

  /** The listener of errors stays for those that come after: nobody else listens then. */
  #stop (): void {
    this.#cancel?.()
    this.#stream.off('data', this.#onData).off('end', this.#onGone).off('close', this.#onGone)
    this.#stream.pause()
  }
}

function invalid (message: string, cause?: unknown): MqttError {
  return new MqttError(ErrorCode.proxyHeaderInvalid, ReasonCode.protocolError, `PROXY protocol header: ${message}`, { cause })
}
