// A plugin remembers who wrote to each topic last, and answers who asks: a request to `audit/last` with a Topic Name as its payload.
import { createServer } from 'node:net'
import { createBroker, type Message, type Plugin } from 'myelin'

interface AuditOptions {
  /** Topics that are remembered, those written to last. Default 10,000. */
  maximumTopics?: number
}

/** Everything that a plugin does it does through the broker's public methods and hooks. */
function audit ({ maximumTopics = 10_000 }: AuditOptions = {}): Plugin {
  const last = new Map<string, { by: string, at: string }>() // a Map, since topics come from the network: `__proto__` is one

  function remember (message: Message, by: string): void {
    last.delete(message.topicName) // so that the oldest is first
    last.set(message.topicName, { by, at: new Date().toISOString() })
    const [oldest] = last.keys()
    if (last.size > maximumTopics && oldest !== undefined) last.delete(oldest)
  }

  return {
    name: 'audit',
    hooks: {
      published ({ client, message }) {
        if (client !== undefined) remember(message, client.clientIdentifier)
      },
    },
    setup (broker) {
      broker.subscribe('audit/last', async ({ payload, properties }) => {
        const { responseTopic, correlationData } = properties ?? {}
        if (responseTopic === undefined) return
        const answer = JSON.stringify(last.get(payload.toString()) ?? null)
        await broker.publish(responseTopic, answer, { properties: correlationData === undefined ? {} : { correlationData } })
      })
    },
    close () { last.clear() },
  }
}

const broker = await createBroker({ plugins: [audit({ maximumTopics: 1_000 })] })
createServer(broker.handle).listen(1883, '127.0.0.1')
