import { WebSocket } from 'ws'
import { testAuthority } from './certificates.ts'

/** The HTTP status that answers an upgrade; 101 is a WebSocket, which is closed again. Undefined where nothing is answered. */
export function statusOf (url: string, headers: Record<string, string> = {}, protocol = 'mqtt'): Promise<number | undefined> {
  return new Promise(resolve => {
    const client = new WebSocket(url, protocol, { headers, ca: testAuthority, family: 4 })
    client.on('error', () => { resolve(undefined) })
    client.on('open', () => { resolve(101); client.terminate() })
    client.on('unexpected-response', (_, response) => { resolve(response.statusCode); response.resume() })
  })
}
