// A host whose broker carries idle Clients over streams in memory, beside those that come by TCP: `node crowd.js PORT FOLDER_OF_MYELIN STREAMS`
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { pathToFileURL } from 'node:url'
import type * as Myelin from '../../lib/index.ts'

const [port, root = '.', streams = '0'] = process.argv.slice(2)
const { createBroker, PacketCodec, PacketType } = await import(pathToFileURL(join(root, 'dist/lib/index.js')).href) as typeof Myelin

const broker = await createBroker()
const codec = new PacketCodec(4)
for (let i = 0; i < Number(streams); i++) await enter(`crowd-${i}`)
createServer({ noDelay: true }, broker.handle).listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })

/** Connects a Client that says nothing more. */
async function enter (clientIdentifier: string): Promise<void> {
  const [ours, theirs] = duplexPair()
  broker.handle(theirs)
  theirs.on('close', () => { throw new Error(`${clientIdentifier} was lost`) })
  ours.write(codec.encode({
    type: PacketType.connect, protocolVersion: 4, cleanStart: true, keepAlive: 0, clientIdentifier,
    will: undefined, username: undefined, password: undefined, properties: undefined,
  }))
  await once(ours, 'data')
}
