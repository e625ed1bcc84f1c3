import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { PeerCertificate } from 'node:tls'
import type { ConnectionInfo } from '../contract/hooks.ts'
import type { ProxyAddress } from './proxy/proxy-protocol.ts'

/** What a `net.Socket` or `tls.TLSSocket` has beyond a Duplex; none of it is there for other streams. */
interface SocketLike {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
  readonly authorized?: boolean | undefined
  /** An object without properties when there is no certificate, null once the socket is gone. */
  readonly getPeerCertificate?: () => Partial<PeerCertificate> | null
}

/** What is left to ask of a socket that is gone. */
const gone: SocketLike = { authorized: false }
const goneAuthorized: SocketLike = { authorized: true }

/** The remote address is copied, because a socket forgets it when it is destroyed; the certificate is large and stays with the socket. */
class NetworkConnectionInfo implements ConnectionInfo {
  readonly id: number
  readonly transport: ConnectionInfo['transport'] = 'stream'
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly listener: string | undefined
  readonly connectedAt: number
  #socket: SocketLike

  constructor (id: number, socket: SocketLike, address: string | undefined, listener: string | undefined, connectedAt: number) {
    this.id = id
    this.remoteAddress = address ?? socket.remoteAddress
    this.remotePort = address === undefined || address === socket.remoteAddress ? socket.remotePort : undefined // the proxy's port, not the Client's
    this.listener = listener
    this.connectedAt = connectedAt
    this.#socket = socket
  }

  get request (): IncomingMessage | undefined { return undefined }

  get identity (): unknown { return undefined }

  // Asked of the socket, which is a system call that most hosts can do without.
  get localAddress (): string | undefined { return this.#socket.localAddress }

  get localPort (): number | undefined { return this.#socket.localPort }

  get peerCertificate (): PeerCertificate | undefined {
    const certificate = this.#socket.getPeerCertificate?.()
    return certificate?.raw === undefined ? undefined : certificate as PeerCertificate
  }

  get isPeerAuthorized (): boolean { return this.#socket.authorized === true }

  /** @internal */
  forget (): void { this.#socket = this.isPeerAuthorized ? goneAuthorized : gone }
}

/** A connection that began as an HTTP request. */
class WebSocketConnectionInfo extends NetworkConnectionInfo {
  override readonly transport = 'websocket'
  #request: IncomingMessage | undefined
  readonly #identity: unknown

  constructor (id: number, socket: SocketLike, request: IncomingMessage, identity: unknown, address: string | undefined, listener: string | undefined, connectedAt: number) {
    super(id, socket, address, listener, connectedAt)
    this.#request = request
    this.#identity = identity
  }

  override get request (): IncomingMessage | undefined { return this.#request }

  override get identity (): unknown { return this.#identity }

  /** @internal The request goes, too: it has the socket, and headers as long as a Client likes. */
  override forget (): void {
    super.forget()
    this.#request = undefined
  }
}

/** A connection whose addresses are those that a proxy told. */
class ProxiedConnectionInfo implements ConnectionInfo {
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly #info: ConnectionInfo

  constructor (info: ConnectionInfo, address: ProxyAddress) {
    this.remoteAddress = address.sourceAddress
    this.remotePort = address.sourcePort
    this.localAddress = address.destinationAddress
    this.localPort = address.destinationPort
    this.#info = info
  }

  get id (): number { return this.#info.id }
  get transport (): ConnectionInfo['transport'] { return this.#info.transport }
  get listener (): string | undefined { return this.#info.listener }
  get request (): IncomingMessage | undefined { return this.#info.request }
  get identity (): unknown { return this.#info.identity }
  get peerCertificate (): PeerCertificate | undefined { return this.#info.peerCertificate }
  get isPeerAuthorized (): boolean { return this.#info.isPeerAuthorized }
  get connectedAt (): number { return this.#info.connectedAt }

  /** @internal */
  forget (): void { forgetSocket(this.#info) }
}

/** What is known of any Duplex; addresses and certificate where it is a `net.Socket`, a `tls.TLSSocket` or looks like one. */
export function streamConnectionInfo (id: number, stream: Duplex, listener: string | undefined, connectedAt: number): ConnectionInfo {
  return new NetworkConnectionInfo(id, stream as SocketLike, undefined, listener, connectedAt)
}

/** What is known of a WebSocket from its upgrade. `address` is the Client's where somebody knows it better than the socket. */
export function webSocketConnectionInfo (
  id: number, request: IncomingMessage, socket: Duplex, address: string | undefined, identity: unknown, listener: string | undefined, connectedAt: number,
): ConnectionInfo {
  return new WebSocketConnectionInfo(id, socket as SocketLike, request, identity, address, listener, connectedAt)
}

/** The same connection with the addresses of its PROXY protocol header; unchanged where the header told none. */
export function withProxyAddress (info: ConnectionInfo, address: ProxyAddress | undefined): ConnectionInfo {
  return address === undefined ? info : new ProxiedConnectionInfo(info, address)
}

/** Lets go of the socket once it is gone: what is known of a Client stays for as long as its Session does. */
export function forgetSocket (info: ConnectionInfo): void {
  if (info instanceof NetworkConnectionInfo || info instanceof ProxiedConnectionInfo) info.forget()
}
