import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** When a connection is to be cut: before Redis has read what comes next, or after it has executed it and before that is answered. */
export type Cut = 'before' | 'after'

/** A way to Redis on which answers get lost. */
export class RedisProxy {
  readonly #port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #cut: { readonly when: Cut, readonly word: string } | undefined = undefined
  /** How often it has been cut. */
  cuts = 0

  private constructor (port: number) {
    this.#port = port
    this.#server = createServer(client => { this.#pass(client) })
  }

  static async start (port: number): Promise<RedisProxy> {
    const proxy = new RedisProxy(port)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get url (): string { return `redis://127.0.0.1:${(this.#server.address() as AddressInfo).port}` }

  /** The next time that a Client sends `word`. */
  cutNext (when: Cut, word = 'EVAL'): void { this.#cut = { when, word } }

  close (): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #pass (client: Socket): void {
    const upstream = connect(this.#port, '127.0.0.1')
    const end = (): void => {
      client.destroy()
      upstream.destroy()
    }
    let isDeaf = false
    for (const socket of [client, upstream]) this.#sockets.add(socket.on('error', end).on('close', end))
    client.on('data', data => {
      const cut = this.#cut
      if (cut === undefined || !data.includes(cut.word)) {
        upstream.write(data)
        return
      }
      this.#cut = undefined
      this.cuts++
      if (cut.when === 'before') end()
      isDeaf = true
      upstream.write(data)
    })
    upstream.on('data', data => {
      if (isDeaf) end()
      else client.write(data)
    })
  }
}
