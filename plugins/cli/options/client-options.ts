// What `myelin pub` and `myelin sub` can be told. The letters are those of other MQTT command lines, -h excepted.

/** Where and how the two clients connect. */
export const connectionOptions = {
  url: { kind: 'text', help: 'The broker: mqtt://, mqtts://, ws:// or wss://, with host, port and path. In the place of --host and --port.' },
  host: { kind: 'text', default: '127.0.0.1', help: 'Host of the broker.' },
  port: { kind: 'remotePort', short: 'p', default: 1883, help: 'TCP port of the broker.' },
  protocolVersion: { kind: 'choice', short: 'V', choices: ['5', '4', '3'], default: '5', help: '5 is MQTT 5.0, 4 is MQTT 3.1.1, 3 is MQTT 3.1.' },
  clientIdentifier: { kind: 'text', short: 'i', help: 'Client Identifier; without it a random one.' },
  username: { kind: 'text', short: 'u', help: 'User name.' },
  password: { kind: 'payload', short: 'P', help: 'Password. Other users of the machine can see it in the list of processes.' },
  ca: { kind: 'path', help: 'Authorities that may have signed the certificate of the broker, PEM.' },
  insecure: { kind: 'flag', help: 'Do not check the certificate of the broker.' },
  help: { kind: 'flag', short: 'h', only: 'commandLine', help: 'Print this.' },
} as const

/** What `myelin pub` sends. */
export const publishOptions = {
  topic: { kind: 'topicName', short: 't', help: 'Topic Name.' },
  message: { kind: 'payload', short: 'm', help: 'The payload.' },
  file: { kind: 'path', short: 'f', help: 'Send the content of this file.' },
  lines: { kind: 'flag', short: 'l', help: 'Send each line of standard input as a message of its own.' },
  qos: { kind: 'choice', short: 'q', choices: ['0', '1', '2'], default: '0', help: 'Quality of Service.' },
  retain: { kind: 'flag', short: 'r', help: 'Have the broker keep the message for later subscribers. An empty one removes what is kept.' },
} as const

/** What `myelin sub` prints. */
export const subscribeOptions = {
  topic: { kind: 'topicFilters', short: 't', help: 'Topic Filter; may be repeated.' },
  qos: { kind: 'choice', short: 'q', choices: ['0', '1', '2'], default: '0', help: 'Maximum Quality of Service.' },
  verbose: { kind: 'flag', short: 'v', help: 'Print the Topic Name before each payload.' },
  count: { kind: 'positive', short: 'C', help: 'End after this many messages.' },
  timeout: { kind: 'seconds', short: 'W', help: 'End after this time, at most 24 days.' },
} as const

/** All options of `myelin pub`. */
export type PublishOptions = typeof publishOptions & typeof connectionOptions
/** All options of `myelin sub`. */
export type SubscribeOptions = typeof subscribeOptions & typeof connectionOptions
