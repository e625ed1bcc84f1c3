// A host with one of the variants: `node server.js PORT FOLDER_OF_MYELIN VARIANT`
import { createServer } from 'node:net'
import { Variants } from './plugins.ts'
import type { VariantId } from './variants.ts'

const [port, root = '.', variant = 'none'] = process.argv.slice(2)
const broker = await new Variants(root).createBroker(variant as VariantId)
createServer({ noDelay: true }, broker.handle).listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })
