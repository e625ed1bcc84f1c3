import type { Allow, ClientInfo, ConnectionInfo, Deny, MaybePromise } from './hooks.ts'

/** How an exchange begins: with a CONNECT, or with an AUTH of a Client that is connected (section 4.12.1). */
export interface ExchangeRequest {
  readonly clientIdentifier: string
  readonly username: string | undefined
  readonly connection: ConnectionInfo
  /** The Client that authenticates anew; undefined while it connects. */
  readonly client: ClientInfo | undefined
  readonly signal: AbortSignal
}

/** Asks the Client for more: an AUTH with Continue authentication and this data. */
export interface Continue { readonly continue: Buffer }

/** The end of an exchange; `authenticationData` goes back in the CONNACK or the last AUTH. */
export interface Accept<Data = unknown> extends Allow<Data> { readonly authenticationData?: Buffer }

/** One Client's way through an authentication method. */
export interface Exchange<Data = unknown> {
  /** Answers the Client's Authentication Data, undefined where it sent none. */
  next (data: Buffer | undefined): MaybePromise<Continue | Accept<Data> | Deny>
}

/** Enhanced authentication (section 4.12) by one method, for example SCRAM-SHA-256. */
export interface AuthenticationMethod<Data = unknown> {
  /** As in the Authentication Method property. */
  readonly name: string
  start (request: ExchangeRequest): Exchange<Data>
}
