// The packets that the load generator sends, encoded once and copied from then on. It shares no code with the broker, so that it
// can neither be wrong in the same way nor change with it.

/** Bytes at the front of each payload: time in microseconds, publisher, sequence number. */
export const headerLength = 12

/** A PUBLISH that is copied for each message; three places in it change. */
export interface PublishFrame {
  readonly bytes: Buffer
  /** Where the Packet Identifier stands; 0 for QoS 0. */
  readonly identifierAt: number
  readonly headerAt: number
}

export interface ConnectFields {
  readonly version: 4 | 5
  readonly clientIdentifier: string
  readonly cleanStart: boolean
  /** MQTT 5.0 only: seconds that the Session stays. */
  readonly sessionExpiryInterval: number
  /** MQTT 5.0 only. */
  readonly topicAliasMaximum: number
}

export interface PublishFields {
  readonly version: 4 | 5
  readonly topicName: string
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly payload: number
  /** MQTT 5.0 only; 0 for none. */
  readonly topicAlias: number
}

const keepAlive = 600

const uint16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff])
const text = (value: string): Buffer => Buffer.concat([uint16(Buffer.byteLength(value)), Buffer.from(value)])

function variableByteInteger (value: number): Buffer {
  const bytes: number[] = []
  for (let left = value; ; left >>>= 7) {
    if (left < 128) return Buffer.from([...bytes, left])
    bytes.push((left & 127) | 128)
  }
}

function packet (first: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([first]), variableByteInteger(body.length), body])
}

function connectProperties ({ sessionExpiryInterval, topicAliasMaximum }: ConnectFields): Buffer {
  const expiry = Buffer.alloc(5, 0x11)
  expiry.writeUInt32BE(sessionExpiryInterval, 1)
  const properties = Buffer.concat([expiry, Buffer.from([0x22]), uint16(topicAliasMaximum)])
  return Buffer.concat([variableByteInteger(properties.length), properties])
}

export function connectFrame (fields: ConnectFields): Buffer {
  const flags = Buffer.from([fields.version, fields.cleanStart ? 2 : 0])
  const properties = fields.version === 5 ? connectProperties(fields) : Buffer.alloc(0)
  return packet(0x10, text('MQTT'), flags, uint16(keepAlive), properties, text(fields.clientIdentifier))
}

export function subscribeFrame (version: 4 | 5, packetIdentifier: number, topicFilters: readonly string[], qos: number): Buffer {
  const filters = topicFilters.flatMap(filter => [text(filter), Buffer.from([qos])])
  return packet(0x82, uint16(packetIdentifier), Buffer.alloc(version === 5 ? 1 : 0), ...filters)
}

export const disconnectFrame: Buffer = Buffer.from([0xe0, 0])

function publishProperties (version: 4 | 5, topicAlias: number): Buffer {
  if (version === 4) return Buffer.alloc(0)
  return topicAlias === 0 ? Buffer.alloc(1) : Buffer.from([3, 0x23, topicAlias >> 8, topicAlias & 0xff])
}

export function publishFrame ({ version, topicName, qos, retain, payload, topicAlias }: PublishFields): PublishFrame {
  const length = Math.max(payload, headerLength)
  const bytes = packet(0x30 | qos << 1 | Number(retain), text(topicName), Buffer.alloc(qos > 0 ? 2 : 0), publishProperties(version, topicAlias), Buffer.alloc(length, 'x'))
  const headerAt = bytes.length - length
  return { bytes, headerAt, identifierAt: qos > 0 ? headerAt - publishProperties(version, topicAlias).length - 2 : 0 }
}
