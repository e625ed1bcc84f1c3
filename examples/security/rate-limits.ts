// Limits for a broker that anybody can reach: guessing passwords, coming too often, publishing too much.
import { createServer } from 'node:net'
import { createBroker } from 'myelin'
import { rateLimit } from 'myelin/rate-limit'

const limit = rateLimit({
  connections: { perSecond: 5, burst: 20 },
  concurrent: 100,
  failedLogins: { attempts: 3, withinMs: 600_000, banMs: 60_000, factor: 2, maximumBanMs: 86_400_000 },
  publishes: ({ username }) => username === 'gateway' ? undefined : { perSecond: 100, bytesPerSecond: 100_000, action: 'refuse' },
  flapping: { disconnects: 10, withinMs: 60_000, banMs: 60_000 },
  allow: ['10.0.0.0/8'],
})

const broker = await createBroker({
  plugins: [limit],
  hooks: { authenticate: ({ password }) => password?.toString() === 'correct horse' },
})
createServer(broker.handle).listen(1883, '127.0.0.1')

process.on('SIGTERM', () => {
  for (const { address, count } of limit.bans()) console.log(`${address} is banned, ${count} in a row`)
  void broker.close().then(() => { process.exit() })
})
