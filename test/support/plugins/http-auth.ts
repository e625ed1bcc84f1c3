import type { Test } from 'tap'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ReasonCode, type AuthenticateRequest, type BrokerOptions } from '../../../lib/index.ts'
import { PacketType } from '../../../lib/packet/packets.ts'
import { httpAuth, type HttpAuth, type HttpAuthOptions } from '../../../plugins/http-auth/index.ts'
import { connectPacket, PacketClient, settled, startBroker, type TestBroker } from '../harness.ts'
import { MemoryLogger } from '../observe.ts'

export interface Question { readonly method: string | undefined, readonly url: string | undefined, readonly headers: IncomingHttpHeaders, readonly body: Record<string, unknown> }

export type Respond = (response: ServerResponse, question: Question) => void

export const say = (body: unknown, status = 200): Respond => response => { response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)) }
export const allow = say({ result: 'allow' })

/** A real HTTP server that answers as a test tells it to, and remembers what it was asked. */
export class Service {
  readonly questions: Question[] = []
  respond: Respond = allow
  url = ''
  readonly #server = createServer((request, response) => { void this.#handle(request, response) })

  async listen (t: Test): Promise<this> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/mqtt?v=1`
    t.teardown(() => { this.#server.closeAllConnections(); this.#server.close() })
    return this
  }

  /** The questions since the last call. */
  take (): Record<string, unknown>[] { return this.questions.splice(0).map(({ body }) => body) }

  async asked (count: number): Promise<void> {
    while (this.questions.length < count) await new Promise(resolve => { setImmediate(resolve) })
  }

  async #handle (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const question = { method: request.method, url: request.url, headers: request.headers, body: JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown> }
    this.questions.push(question)
    this.respond(response, question)
  }
}

export interface Setup extends TestBroker { readonly service: Service, readonly plugin: HttpAuth, readonly logger: MemoryLogger }

export async function start (t: Test, options: Partial<HttpAuthOptions> = {}): Promise<Setup> {
  const service = await new Service().listen(t)
  const plugin = httpAuth({ url: service.url, ...options })
  const logger = new MemoryLogger()
  return { ...await startBroker(t, { plugins: [plugin], logger }), service, plugin, logger }
}

/** What `authenticate` answers, without a broker around it. */
export async function ask ({ plugin }: Setup, fields: Partial<AuthenticateRequest> = {}): Promise<unknown> {
  return plugin.hooks.authenticate?.({
    clientIdentifier: 'c', username: 'ann', password: Buffer.from('secret'), protocolVersion: 5, connection: { remoteAddress: '192.0.2.1', isPeerAuthorized: false }, ...fields,
  } as AuthenticateRequest)
}

export const busy = { allow: false, reasonCode: ReasonCode.serverBusy }
export const unavailable = { allow: false, reasonCode: ReasonCode.serverUnavailable }

export async function login ({ broker }: TestBroker, fields: Parameters<typeof connectPacket>[0] = {}): Promise<[PacketClient, number | undefined]> {
  const client = new PacketClient(broker, 5)
  client.send(connectPacket({ username: 'ann', password: Buffer.from('secret'), ...fields }))
  while (client.received.length === 0 && !client.isEnded) await settled()
  const packet = client.received.shift()
  return [client, packet?.type === PacketType.connack ? packet.reasonCode : undefined]
}

/** The Reason Code of the PUBACK. */
export async function publish (client: PacketClient, topicName: string, retain = false): Promise<number | undefined> {
  client.publish(topicName, 'x', { qos: 1, packetIdentifier: 1, retain })
  while (client.received.length === 0 && !client.isEnded) await settled()
  const packet = client.received.shift()
  return packet?.type === PacketType.puback ? packet.reasonCode : undefined
}

/** The service lets everybody in, and decides about topics as `respond` does. */
export async function startWithTopics (t: Test, respond: Respond, options: Partial<HttpAuthOptions> = {}, brokerOptions: BrokerOptions = {}): Promise<Setup> {
  const service = await new Service().listen(t)
  service.respond = (response, question) => { (question.body['action'] === 'authenticate' ? allow : respond)(response, question) }
  const plugin = httpAuth({ url: service.url, authorizeUrl: service.url.replace('mqtt', 'topics'), ...options })
  const logger = new MemoryLogger()
  return { ...await startBroker(t, { ...brokerOptions, plugins: [plugin], logger }), service, plugin, logger }
}
