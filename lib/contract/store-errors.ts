import { ErrorCode, MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'

/** Another process has the store open. */
export function storeInUse (message: string, options?: ErrorOptions): MqttError {
  return new MqttError(ErrorCode.storeInUse, ReasonCode.implementationSpecificError, message, options)
}

/** A newer version of Myelin has written the store. */
export function storeTooNew (message: string, options?: ErrorOptions): MqttError {
  return new MqttError(ErrorCode.storeTooNew, ReasonCode.implementationSpecificError, message, options)
}

/** There is no room left for what is to be stored. Publishers are told Quota exceeded (0x97). */
export function storeFull (message: string, options?: ErrorOptions): MqttError {
  return new MqttError(ErrorCode.storeFull, ReasonCode.quotaExceeded, message, options)
}

/** The store cannot be read or written. Publishers are told Implementation specific error (0x83). */
export function storeFailed (message: string, options?: ErrorOptions): MqttError {
  return new MqttError(ErrorCode.storeFailed, ReasonCode.implementationSpecificError, message, options)
}
