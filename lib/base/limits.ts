/** What one Client, and all of them together, may ask of the broker. Each limit is on by default; `docs/limits.md` lists them. */
export interface Limits {
  /** Bytes of one Control Packet from a connected Client; announced as Maximum Packet Size (3.2.2.3.6). Default 1,088 KiB: a payload of 1 MiB with its topic. */
  maximumPacketSize: number
  /** Bytes of the CONNECT packet, checked before anything of it is buffered. Default 64 KiB. */
  maximumConnectSize: number
  /** Milliseconds that a new connection has until its CONNECT is complete. Default 10,000. */
  connectTimeoutMs: number
  /** UTF-8 bytes of a Client Identifier. Default 256. */
  maximumClientIdentifierLength: number
  /** UTF-8 bytes of a Topic Name or Topic Filter. Default 4,096. */
  maximumTopicLength: number
  /** Levels of a Topic Name or Topic Filter. Default 256. */
  maximumTopicLevels: number
  /** Subscriptions of one Session. Default 10,000. */
  maximumSubscriptions: number
  /** QoS 1 and 2 messages from a Client that are not completed; announced as Receive Maximum (3.2.2.3.3). Default 100. */
  receiveMaximum: number
  /** QoS 1 and 2 messages to a Client that are not acknowledged, where its own Receive Maximum is not lower. Default 2,000. */
  maximumInFlight: number
  /** QoS 1 and 2 messages that wait in one Session. Default 100,000. */
  maximumQueuedMessages: number
  /** Bytes of the messages that wait in one Session. Default 64 MiB. */
  maximumQueuedBytes: number
  /** Bytes of the messages that wait in all Sessions together, a shared message counted for each. Default 1 GiB. */
  maximumTotalQueuedBytes: number
  /** Bytes of messages that gather while a store is busy, or away; over it publishers of what has to be stored are held back. Default 64 MiB. */
  maximumUncommittedBytes: number
  /** Which message goes when a Session's queue is full; each is told to `onDrop`. `disconnect` ends the connection with 0x97 and drops the newest. Default `dropNewest`: what was taken in stays, and a full queue costs its publishers nothing. */
  queuePolicy: 'dropOldest' | 'dropNewest' | 'disconnect'
  /** Bytes that wait to be written to one connection; over it QoS 0 is dropped, QoS 1 and 2 wait in the Session. Default 16 MiB. */
  maximumOutboxBytes: number
  /** Milliseconds that a connection may stay over `maximumOutboxBytes` without taking a byte before it ends with 0x97. Default 60,000. */
  slowConsumerTimeoutMs: number
  /** Retained messages. Default 1,000,000. */
  maximumRetainedMessages: number
  /** Bytes of all retained messages. Default 512 MiB. */
  maximumRetainedBytes: number
  /** Topic Aliases a Client may set; announced as Topic Alias Maximum (3.2.2.3.8). Default 32. */
  topicAliasMaximum: number
  /** Topic Aliases the broker uses towards a Client that allows that many. Default 32. */
  maximumOutboundTopicAliases: number
  /** User Properties in one packet. Default 100. */
  maximumUserProperties: number
  /** Connections in all. Default 1,000,000. */
  maximumConnections: number
  /** Connections from one address. Default 100,000. */
  maximumConnectionsPerAddress: number
  /** New connections a second, in all; the allowance of one second may come at once. Default 100,000. */
  connectionRate: number
  /** PUBLISH packets a second of one Client, 0 for no limit; over it the connection is read more slowly. Default 1,000,000. */
  publishRate: number
  /** Seconds. A longer Keep Alive, or none, is answered with this as Server Keep Alive (3.2.2.3.14); 0 leaves it to the Client. Default 0. */
  maximumKeepAlive: number
  /** Seconds. A longer Session Expiry Interval is cut to this (3.2.2.3.2); 0xFFFFFFFF never expires. Default 0xFFFFFFFF. */
  maximumSessionExpiryInterval: number
  /** Sessions in all, those whose Client is away included. Default 1,000,000. */
  maximumSessions: number
  /** Bytes that the process may occupy; over it QoS 0 to slow consumers is dropped, then publishers are paused. Default three quarters of the memory there is; 0 turns it off. */
  memoryHighWaterMark: number
  /** Packets of one connection that wait while a hook's promise is pending, in bytes; then its socket is paused. Default 64 KiB. */
  maximumPendingBytes: number
}

const KiB = 1024
const MiB = 1024 * KiB

/** The defaults of {@link Limits}; `memoryHighWaterMark` is set for the machine when the broker is built. */
export const defaultLimits: Readonly<Limits> = {
  maximumPacketSize: 1088 * KiB,
  maximumConnectSize: 64 * KiB,
  connectTimeoutMs: 10_000,
  maximumClientIdentifierLength: 256,
  maximumTopicLength: 4096,
  maximumTopicLevels: 256,
  maximumSubscriptions: 10_000,
  receiveMaximum: 100,
  maximumInFlight: 2_000,
  maximumQueuedMessages: 100_000,
  maximumQueuedBytes: 64 * MiB,
  maximumTotalQueuedBytes: 1024 * MiB,
  maximumUncommittedBytes: 64 * MiB,
  queuePolicy: 'dropNewest',
  maximumOutboxBytes: 16 * MiB,
  slowConsumerTimeoutMs: 60_000,
  maximumRetainedMessages: 1_000_000,
  maximumRetainedBytes: 512 * MiB,
  topicAliasMaximum: 32,
  maximumOutboundTopicAliases: 32,
  maximumUserProperties: 100,
  maximumConnections: 1_000_000,
  maximumConnectionsPerAddress: 100_000,
  connectionRate: 100_000,
  publishRate: 1_000_000,
  maximumKeepAlive: 0,
  maximumSessionExpiryInterval: 0xffffffff,
  maximumSessions: 1_000_000,
  memoryHighWaterMark: 0,
  maximumPendingBytes: 64 * KiB,
}
