import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** A port of 127.0.0.1 that nobody listens on, below those that systems give to connections: one of these may be taken before it is used. */
export async function freePort (): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const port = randomInt(10_240, 32_768)
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
      server.close()
      await once(server, 'close')
      return port
    } catch (error) {
      if (attempt === 20) throw error
    }
  }
}
