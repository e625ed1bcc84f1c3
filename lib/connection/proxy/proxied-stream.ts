import type { Duplex } from 'node:stream'
import { ErrorCode, MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { Clock } from '../../contract/clock.ts'
import { ProxyHeader, type ProxyAddress } from './proxy-protocol.ts'

/**
 * Reads the PROXY protocol header that comes before the first packet. Calls back once, with the address that the proxy told
 * (undefined where it told none) after putting back what follows it, or with the error, after which the stream is destroyed.
 */
export function readProxyHeader (
  stream: Duplex, clock: Clock, timeoutMs: number,
  done: (error: MqttError | undefined, address: ProxyAddress | undefined) => void,
): void {
  const header = new ProxyHeader()
  const stop = (): void => {
    cancel()
    stream.off('data', onData).off('end', onGone).off('close', onGone)
    stream.pause()
  }
  const refuse = (error: MqttError): void => {
    stop()
    stream.destroy()
    done(error, undefined)
  }
  const onData = (chunk: Buffer): void => {
    try {
      const result = header.push(chunk)
      if (result === undefined) return
      stop()
      stream.off('error', onGone)
      if (result.rest.length > 0) stream.unshift(result.rest)
      done(undefined, result.address)
    } catch (error) {
      refuse(error instanceof MqttError ? error : invalid('it cannot be read', error))
    }
  }
  // Stays for errors that come after: nobody else listens then.
  const onGone = (): void => { refuse(invalid('the connection ended before it was complete')) }
  const cancel = clock.after(timeoutMs, () => { refuse(invalid(`it did not come within ${timeoutMs} ms`)) })
  stream.on('data', onData).on('end', onGone).on('close', onGone).on('error', onGone)
}

function invalid (message: string, cause?: unknown): MqttError {
  return new MqttError(ErrorCode.proxyHeaderInvalid, ReasonCode.protocolError, `PROXY protocol header: ${message}`, { cause })
}
