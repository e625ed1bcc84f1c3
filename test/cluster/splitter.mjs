import { once } from 'node:events'
import { connect, createServer } from 'node:net'

/** Listens on a free port, and gives each new connection to the next one of the ports. */
export async function split (ports) {
  let count = 0
  const sockets = new Set()
  const server = createServer({ noDelay: true, allowHalfOpen: true }, client => {
    const node = connect({ host: '127.0.0.1', port: ports[count++ % ports.length], noDelay: true, allowHalfOpen: true })
    join(client, node, sockets)
    join(node, client, sockets)
  })
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
  await once(server, 'listening')
  return {
    port: server.address().port,
    close () {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** What comes out of one goes into the other; so do its end and its death. */
function join (from, to, sockets) {
  sockets.add(from)
  from.pipe(to)
  from.on('error', () => { to.resetAndDestroy() })
  from.on('close', () => {
    sockets.delete(from)
    to.destroySoon()
  })
}
