// What `myelin inspect` can be told.

/** What is listed, and how. */
export const inspectOptions = {
  directory: { kind: 'path', only: 'argument', help: 'What the broker was given as --data.' },
  session: { kind: 'text', help: 'Show the session of this Client Identifier: its subscriptions and the first messages of its queue.' },
  retained: { kind: 'flag', help: 'List the retained messages.' },
  json: { kind: 'flag', help: 'One JSON object a line, with whole payloads. Without --session and --retained it is everything.' },
  limit: { kind: 'count', help: 'At most so many messages of a queue, or retained messages. Without it 20 of a queue and all retained messages; with --json all of both.' },
  help: { kind: 'flag', short: 'h', only: 'commandLine', help: 'Print this.' },
} as const

/** All options of `myelin inspect`. */
export type InspectOptions = typeof inspectOptions
