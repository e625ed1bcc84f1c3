import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** Stands between a client and a server and counts the bytes of the TCP payload in both directions: the same count for every protocol. */
export class Relay {
  /** From clients to the server. */
  up = 0
  down = 0
  readonly #server: Server

  constructor (port: number) {
    this.#server = createServer(client => {
      const server = connect(port, '127.0.0.1')
      forward(client, server, bytes => { this.up += bytes })
      forward(server, client, bytes => { this.down += bytes })
    })
  }

  async listen (): Promise<number> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
    return (this.#server.address() as AddressInfo).port
  }

  close (): void { this.#server.close() }
}

function forward (from: Socket, to: Socket, count: (bytes: number) => void): void {
  from.setNoDelay(true).on('data', chunk => {
    count(chunk.length)
    to.write(chunk)
  }).on('close', () => { to.destroy() }).on('error', () => undefined)
}
