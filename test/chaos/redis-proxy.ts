import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** Both ends are told that their connection has gone; or they are not, and nothing comes through. */
export type Cut = 'broken' | 'silent'

/** The network between one node and Redis. */
export class RedisProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #cut: Cut | undefined = undefined

  private constructor (redisPort: number) {
    this.#server = createServer({ noDelay: true }, client => { this.#accept(client, redisPort) })
  }

  static async start (redisPort: number): Promise<RedisProxy> {
    const proxy = new RedisProxy(redisPort)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port (): number { return (this.#server.address() as AddressInfo).port }

  cut (how: Cut): void {
    this.#cut = how
    for (const socket of this.#sockets) {
      if (how === 'broken') socket.destroy()
      else socket.pause()
    }
  }

  /** What waited arrives. */
  heal (): void {
    this.#cut = undefined
    for (const socket of this.#sockets) socket.resume()
  }

  close (): void {
    this.cut('broken')
    this.#server.close()
  }

  #accept (client: Socket, redisPort: number): void {
    if (this.#cut === 'broken') {
      client.destroy()
      return
    }
    const redis = connect({ port: redisPort, host: '127.0.0.1', noDelay: true })
    this.#join(client, redis)
    this.#join(redis, client)
  }

  #join (from: Socket, to: Socket): void {
    this.#sockets.add(from)
    from.on('data', chunk => { to.write(chunk) })
    from.on('error', () => { /* close follows */ })
    from.on('close', () => {
      this.#sockets.delete(from)
      to.destroySoon()
    })
    if (this.#cut === 'silent') from.pause()
  }
}
