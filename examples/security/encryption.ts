// Two clients that trust each other, and a broker that need not be trusted: it carries what it cannot read.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import mqtt from 'mqtt'
import { createBroker } from 'myelin'
import { encrypted, keyring, requireEncryption } from 'myelin/crypto'

const broker = await createBroker({
  plugins: [requireEncryption({ filters: ['house/#'] })],
  hooks: { published: ({ message }) => { console.log(`the broker reads 21 degrees: ${message.payload.includes('21 degrees')}`) } },
})
const server = createServer(broker.handle).listen(1883, '127.0.0.1')
await once(server, 'listening')
const url = `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`

// In earnest the key comes from where both ends keep their secrets, never through the broker.
const keys = keyring([{ filter: 'house/#', keys: [{ id: '2026-1', key: randomBytes(32) }] }])

const reader = encrypted(await mqtt.connectAsync(url, { protocolVersion: 5 }), keys)
reader.on('message', (topicName, payload) => { console.log(`the reader: ${topicName} ${payload.toString()}`) })
reader.on('decryptError', ({ code, topicName }) => { console.log(`${topicName}: ${code}`) })
await reader.client.subscribeAsync('house/#')

const delivered = once(reader, 'message')
const writer = encrypted(await mqtt.connectAsync(url, { protocolVersion: 5 }), keys)
await writer.publishAsync('house/attic', '21 degrees', { qos: 1 })
await delivered
await writer.client.publishAsync('house/attic', 'in the clear', { qos: 1 }).catch((error: unknown) => { console.log(error instanceof Error ? error.message : error) })

await Promise.all([reader.client.endAsync(), writer.client.endAsync()])
server.close()
await broker.close()
