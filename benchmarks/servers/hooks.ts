// A host that asks its own rules about every PUBLISH and SUBSCRIBE, synchronously: `node hooks.js PORT FOLDER_OF_MYELIN`
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { createBroker as CreateBroker } from '../../lib/index.ts'

const [port, root = '.'] = process.argv.slice(2)
const { createBroker } = await import(pathToFileURL(join(root, 'dist/lib/index.js')).href) as { createBroker: typeof CreateBroker }

const broker = await createBroker({
  hooks: {
    authorizePublish: ({ client, topicName }) => client.clientIdentifier.startsWith('bench-') && topicName.startsWith('bench/'),
    authorizeSubscribe: ({ client, topicFilter }) => client.clientIdentifier.startsWith('bench-') && topicFilter.startsWith('bench/'),
  },
})
createServer({ noDelay: true }, broker.handle).listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })
