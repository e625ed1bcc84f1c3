/** What the broker counts: plain numbers, since some of them go up with every message. Read them through `broker.metrics`. */
export class Metrics {
  bytesReceived = 0
  bytesSent = 0
  packetsReceived = 0
  packetsSent = 0
  /** PUBLISH packets from Clients. */
  messagesReceived = 0
  /** PUBLISH packets to Clients. */
  messagesSent = 0
  messagesDropped = 0
  /** Messages, Wills among them, and subscriptions that `authorizePublish` and `authorizeSubscribe` refused. */
  messagesDenied = 0
  subscriptionsDenied = 0
  /** Connections that are open, accepted or not yet, and those whose sockets are still closing. */
  connections = 0
  connectionsAccepted = 0
  connectionsRefused = 0
  clientsConnected = 0
  clientsMaximum = 0
  /** QoS 1 and 2 messages that wait in Sessions, and their bytes. */
  queuedMessages = 0
  queuedBytes = 0
  sessionsExpired = 0
  /** Groups of changes that were stored, and attempts that failed. */
  storeCommits = 0
  storeFailures = 0
  /** Bytes of messages that gather for the store, or are on their way to it. */
  uncommittedBytes = 0
  /** Times that the other nodes of the cluster could not be reached. */
  clusterOutages = 0
  /** System writes: what `bytesSent` left in. */
  writes = 0
}
