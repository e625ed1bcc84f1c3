import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { createBroker } from '../lib/index.ts'

// The page is a Client of its own: what it has to say about the broker it says over MQTT.
const page = `<!doctype html><script src="/mqtt.js"></script><script>
  const client = mqtt.connect('ws://' + location.host + '/mqtt', { protocolVersion: 5, clientId: 'browser' })
  client.on('connect', () => client.subscribe('to/browser', { qos: 1 }, () => client.publish('from/browser', 'ready', { qos: 1 })))
  client.on('message', (topic, payload) => client.publish('from/browser', 'got ' + payload, { qos: 2 }))
</script>`

const mqttBundle = join(dirname(createRequire(import.meta.url).resolve('mqtt/package.json')), 'dist/mqtt.min.js')

async function serve (request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === '/mqtt.js') response.setHeader('content-type', 'text/javascript').end(await readFile(mqttBundle))
  else response.setHeader('content-type', 'text/html').end(page)
}

/** Flags without which a browser talks to its maker at every start. */
const quiet = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage']

t.test('a browser is a Client over WebSocket, beside the page it came from', { timeout: 120_000 }, async t => {
  const origins: (string | undefined)[] = []
  const broker = await createBroker({
    hooks: { connected: ({ client }) => { origins.push(client.connection.request?.headers.origin) } },
  })
  const server = createServer((request, response) => { void serve(request, response) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  broker.attach(server, { origin: `http://127.0.0.1:${port}` })
  const profile = await mkdtemp(join(tmpdir(), 'myelin-browser-'))
  const messages = broker.subscribe('from/browser', { qos: 2 })
  const browser = spawn('chromium', [...quiet, `--user-data-dir=${profile}`, `http://127.0.0.1:${port}/`], { stdio: 'ignore' })
  browser.on('error', () => { t.fail('this test needs Chromium: sudo apt-get install -y chromium'); messages.unsubscribe() })
  const said: string[] = []
  for await (const { payload } of messages) {
    said.push(payload.toString())
    if (said.length === 1) await broker.publish('to/browser', 'hello', { qos: 1 })
    else break
  }
  t.strictSame(said, ['ready', 'got hello'])
  t.strictSame(origins, [`http://127.0.0.1:${port}`])
  browser.kill('SIGKILL')
  if (browser.pid !== undefined) await once(browser, 'exit')
  await broker.close()
  server.close()
  server.closeAllConnections()
  await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 })
})
