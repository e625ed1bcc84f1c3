// A broker without a socket: the process that holds it publishes, subscribes and asks.
import { createBroker } from 'myelin'

const broker = await createBroker()

// A function for each message. It answers on the topic that the request names (MQTT 5.0 section 4.10).
broker.subscribe('math/double', async ({ payload, properties }) => {
  const { responseTopic, correlationData } = properties ?? {}
  if (responseTopic === undefined || correlationData === undefined) return
  await broker.publish(responseTopic, String(2 * Number(payload)), { properties: { correlationData } })
})
const response = await broker.request('math/double', '21', { timeoutMs: 1_000 })
console.log(`21 doubled is ${response.payload.toString()}`)

// A loop over messages. Going on to the next message acknowledges the one before.
const temperatures = broker.subscribe('sensors/+/temperature', { qos: 1 })
await broker.publish('sensors/attic/temperature', '31.5', { qos: 1 })
await broker.publish('sensors/cellar/temperature', '12.0', { qos: 1 })
for await (const { topicName, payload } of temperatures) {
  console.log(`${topicName} ${payload.toString()}`)
  if (topicName === 'sensors/cellar/temperature') break // ends the subscription, too
}

// An AbortSignal ends it from elsewhere.
const controller = new AbortController()
const alarms = broker.subscribe('alarms/#', { signal: controller.signal })
controller.abort()
for await (const alarm of alarms) console.log('never reached', alarm.topicName)

await broker.close()
