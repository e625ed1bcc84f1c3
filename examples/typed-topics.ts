// Topics with named parameters and typed payloads: one definition for publishers, subscribers and hooks.
import { createServer } from 'node:net'
import { createBroker, topic } from 'myelin'
import { z } from 'zod'

const temperature = topic('devices/{id}/temperature', z.object({ celsius: z.number().min(-273.15) }))
const alarm = topic('alarms/{id}', z.object({ text: z.string() }))

const broker = await createBroker({
  hooks: {
    // A device writes to its own topic, and to no other.
    authorizePublish: ({ client, topicName }) => temperature.match(topicName)?.id === client.clientIdentifier,
  },
})
broker.hook(temperature.validate()) // what does not fit is refused: Payload format invalid (0x99)
createServer(broker.handle).listen(1883, '127.0.0.1')

for await (const { parameters, payload } of broker.subscribe(temperature, { qos: 1 })) {
  if (payload.celsius > 90) await broker.publish(alarm, { id: parameters.id }, { text: `${payload.celsius} °C` }, { qos: 1 })
}
