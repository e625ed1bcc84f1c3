import { connect, type Socket } from 'node:net'
import { connectFrame, disconnectFrame, publishFrame, subscribeFrame } from '../../../load/wire/frames.ts'
import { PacketReader } from '../../../load/wire/packet-reader.ts'

const type = { connack: 2, publish: 3, puback: 4, suback: 9, unsuback: 11 } as const
/** Bytes of payload in each message. */
const payload = 200

/** An MQTT 3.1.1 Client that waits for its answers. */
export class Client {
  readonly clientIdentifier: string
  /** Messages that it was sent; it acknowledges them at once. */
  received = 0
  readonly #socket: Socket
  /** What its answers are waited for, in their order. */
  readonly #waiting: (() => void)[] = []
  #lost: Error | undefined = undefined

  private constructor (port: number, clientIdentifier: string) {
    this.clientIdentifier = clientIdentifier
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const reader = new PacketReader((first, chunk, at, end) => { this.#packet(first, chunk, at, end) })
    this.#socket.on('data', chunk => { reader.read(chunk, 0, chunk.length) })
    this.#socket.on('error', error => { this.#lost = error })
    this.#socket.on('close', () => { for (const resolve of this.#waiting.splice(0)) resolve() })
  }

  /** @param stays whether its Session does */
  static async open (port: number, clientIdentifier: string, stays: boolean): Promise<Client> {
    const client = new Client(port, clientIdentifier)
    await client.#ask(connectFrame({ version: 4, clientIdentifier, cleanStart: !stays, sessionExpiryInterval: 0, topicAliasMaximum: 0 }))
    return client
  }

  subscribe (...topicFilters: readonly string[]): Promise<void> { return this.#ask(subscribeFrame(4, 1, topicFilters, 1)) }

  unsubscribe (topicFilter: string): Promise<void> {
    const filter = Buffer.from(topicFilter)
    return this.#ask(Buffer.concat([Buffer.from([0xa2, filter.length + 4, 0, 1, 0, filter.length]), filter]))
  }

  /** QoS 1, in one write. Resolves when all are acknowledged. */
  async publish (topicNames: readonly string[]): Promise<void> {
    const frames = topicNames.map((topicName, i) => {
      const { bytes, identifierAt } = publishFrame({ version: 4, topicName, qos: 1, retain: false, payload, topicAlias: 0 })
      bytes.writeUInt16BE(i + 1, identifierAt)
      return bytes
    })
    await this.#ask(Buffer.concat(frames), frames.length)
  }

  /** DISCONNECT. Resolves when the connection is closed. */
  async leave (): Promise<void> {
    const closed = new Promise(resolve => { this.#socket.once('close', resolve) })
    this.#socket.end(disconnectFrame)
    await closed
  }

  destroy (): void { this.#socket.destroy() }

  async #ask (bytes: Buffer, answers: number = 1): Promise<void> {
    const answered = Array.from({ length: answers }, () => new Promise<void>(resolve => { this.#waiting.push(resolve) }))
    this.#socket.write(bytes)
    await Promise.all(answered)
    if (this.#socket.destroyed) throw new Error(`${this.clientIdentifier} was disconnected`, { cause: this.#lost })
  }

  #packet (first: number, chunk: Buffer, at: number, end: number): void {
    const kind = first >> 4
    if (kind === type.publish) this.#acknowledge(chunk, at)
    else if (kind === type.connack && chunk[at + 1] !== 0) this.#socket.destroy(new Error(`refused with ${String(chunk[at + 1])}`))
    else if (kind === type.suback && chunk.readUInt8(end - 1) >= 0x80) this.#socket.destroy(new Error('a subscription was refused'))
    else this.#waiting.shift()?.()
  }

  #acknowledge (chunk: Buffer, at: number): void {
    this.received++
    const identifier = at + 2 + chunk.readUInt16BE(at)
    if (this.#socket.writable) this.#socket.write(Buffer.from([type.puback << 4, 2, chunk.readUInt8(identifier), chunk.readUInt8(identifier + 1)]))
  }
}

/** Runs one task for each number from 0 on, so many at a time. */
export async function inParallel (count: number, parallel: number, task: (i: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => { for (let i = next++; i < count; i = next++) await task(i) }
  await Promise.all(Array.from({ length: Math.min(parallel, count) }, worker))
}
