import { Wire } from './wire.ts'

/** Types of Control Packets in the high half of the first byte (section 2.1.2). */
const publish = 3, puback = 4, pubrec = 5, pubrel = 6, pubcomp = 7

const payload = Buffer.alloc(64, 'x')

/** CONNECT for MQTT 3.1.1 with Clean Session and no Keep Alive. */
export function connectFrame (clientIdentifier: string): Buffer {
  return frame(0x10, text('MQTT'), Buffer.from([4, 2, 0, 0]), text(clientIdentifier))
}

/** SUBSCRIBE to one Topic Filter with QoS 2 at most. */
export function subscribeFrame (topicFilter: string, packetIdentifier = 1): Buffer {
  return frame(0x82, uint16(packetIdentifier), text(topicFilter), Buffer.from([2]))
}

function publishFrame (topicName: string, qos: number, packetIdentifier: number): Buffer {
  return frame(0x30 | qos << 1, text(topicName), ...(qos === 0 ? [] : [uint16(packetIdentifier)]), payload)
}

function frame (first: number, ...fields: Buffer[]): Buffer {
  const body = Buffer.concat(fields)
  if (body.length > 127) throw new Error('the guard writes one byte of Remaining Length')
  return Buffer.concat([Buffer.from([first, body.length]), body])
}

function text (value: string): Buffer {
  return Buffer.concat([uint16(Buffer.byteLength(value)), Buffer.from(value)])
}

function uint16 (value: number): Buffer { return Buffer.from([value >> 8, value & 0xff]) }

/**
 * A Client that reads no more of a packet than it has to and allocates next to nothing, so that what the process allocates is
 * the broker's. It acknowledges whatever comes, in the next turn of the event loop and in one piece.
 */
export class GuardClient {
  readonly wire: Wire = new Wire()
  /** PUBLISH packets that have come. */
  received = 0
  /** Exchanges of its own that are complete. */
  completed = 0
  /** All packets that have come. */
  packets = 0
  readonly #answers = Buffer.allocUnsafeSlow(65_536)
  #answerLength = 0

  constructor () {
    this.wire.onBytes = bytes => { this.#receive(bytes) }
  }

  send (bytes: Buffer): void { this.wire.push(bytes) }

  /** Sends the acknowledgements that have gathered. A copy, since the broker may keep slices of what it reads. */
  answer (): void {
    if (this.#answerLength === 0) return
    this.wire.push(Buffer.from(this.#answers.subarray(0, this.#answerLength)))
    this.#answerLength = 0
  }

  #receive (bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += 2 + (bytes[at + 1] ?? 0)) {
      this.packets++
      this.#handle(bytes, at, (bytes[at] ?? 0) >> 4)
    }
  }

  #handle (bytes: Buffer, at: number, type: number): void {
    if (type === publish) this.#handlePublish(bytes, at)
    else if (type === pubrec) this.#acknowledge(pubrel << 4 | 2, bytes, at + 2)
    else if (type === pubrel) this.#acknowledge(pubcomp << 4, bytes, at + 2)
    else if (type === puback || type === pubcomp) this.completed++
  }

  #handlePublish (bytes: Buffer, at: number): void {
    this.received++
    const qos = (bytes[at] ?? 0) >> 1 & 3
    const identifierAt = at + 4 + ((bytes[at + 2] ?? 0) << 8 | (bytes[at + 3] ?? 0))
    if (qos > 0) this.#acknowledge((qos === 1 ? puback : pubrec) << 4, bytes, identifierAt)
  }

  #acknowledge (first: number, bytes: Buffer, identifierAt: number): void {
    const answers = this.#answers
    answers[this.#answerLength++] = first
    answers[this.#answerLength++] = 2
    answers[this.#answerLength++] = bytes[identifierAt] ?? 0
    answers[this.#answerLength++] = bytes[identifierAt + 1] ?? 0
  }
}

/** Messages one behind the other in one chunk, as a Client with a window sends them; Packet Identifiers from 1 on. */
export function messages (topicName: string, qos: number, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, i) => publishFrame(topicName, qos, i + 1)))
}
