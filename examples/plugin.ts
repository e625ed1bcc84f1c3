// A plugin remembers who wrote to each topic last, and answers who asks: a request to `audit/last` with a Topic Name as its payload.
import { createServer } from 'node:net'
import { BoundedMap, checkNames, checkNumber, createBroker, systemClock, type Message, type Plugin } from 'myelin'

interface AuditOptions {
  /** Topics that are remembered, those written to last. Default 10,000. */
  maximumTopics?: number
}

/** Everything that a plugin does it does through the broker's public methods and hooks. */
function audit (options: AuditOptions = {}): Plugin {
  checkNames(options, ['maximumTopics'])
  checkNumber('maximumTopics', options.maximumTopics, 1, 1_000_000)
  const last = new BoundedMap<string, { by: string, at: string }>(options.maximumTopics ?? 10_000) // clients make topics up: there is no end of them
  let clock = systemClock

  function remember ({ topicName }: Message, by: string): void {
    last.set(topicName, { by, at: new Date(clock.now()).toISOString() })
  }

  return {
    name: 'audit',
    hooks: {
      published ({ client, message }) {
        if (client !== undefined) remember(message, client.clientIdentifier)
      },
    },
    setup (broker) {
      clock = broker.clock // which a test can move
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
