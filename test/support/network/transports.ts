import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import type { IClientOptions } from 'mqtt'
import type { Test } from 'tap'
import type { Broker } from '../../../lib/index.ts'
import { testAuthority, testCertificate, testKey } from './certificates.ts'
import { listen } from './network.ts'

/** The broker's certificate. */
export const own = { cert: testCertificate, key: testKey }

/** Opens the broker to one kind of clients; returns their URL. */
type Transport = (t: Test, broker: Broker) => Promise<string>

export const transports: Record<'TCP' | 'TLS' | 'WebSocket' | 'WebSocket over TLS' | 'a unix socket', Transport> = {
  'TCP': async (t, broker) => `mqtt://127.0.0.1:${await listen(t, createServer(broker.handle))}`,
  'TLS': async (t, broker) => `mqtts://localhost:${await listen(t, createTlsServer(own, broker.handle))}`,
  'WebSocket': async (t, broker) => {
    const server = createHttpServer()
    broker.attach(server)
    return `ws://127.0.0.1:${await listen(t, server)}/mqtt`
  },
  'WebSocket over TLS': async (t, broker) => {
    const server = createHttpsServer(own)
    broker.attach(server)
    return `wss://localhost:${await listen(t, server)}/mqtt`
  },
  'a unix socket': async (t, broker) => {
    const folder = mkdtempSync(join(tmpdir(), 'myelin-'))
    t.teardown(() => { rmSync(folder, { recursive: true }) })
    const path = join(folder, 'mqtt.sock')
    await listen(t, createServer(broker.handle), { path })
    return `mqtt+unix://${path}`
  },
}

/** Options of a client that trusts the broker's certificate. `localhost` may also be an address of IPv6, where nobody listens. */
export function trusting (protocolVersion: 3 | 4 | 5): IClientOptions {
  const options = { protocolVersion, ca: testAuthority, family: 4 }
  return protocolVersion === 3 ? { ...options, protocolId: 'MQIsdp', clientId: randomUUID().slice(0, 23) } : options
}
