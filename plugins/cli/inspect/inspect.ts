import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import type { Store, StoreState } from '../../../lib/index.ts'
import { failure, systemErrorCode, usageError } from '../command-error.ts'
import { dataStore, storeFailure } from '../data.ts'
import { readArguments } from '../options/arguments.ts'
import { helpText, type Help } from '../options/help.ts'
import { inspectOptions, type InspectOptions } from '../options/inspect-options.ts'
import type { Values } from '../options/kinds.ts'
import type { Terminal } from '../terminal.ts'
import { printable } from './format.ts'
import { jsonLines } from './json.ts'
import { textLines } from './text.ts'

const shownMessages = 20

/** The help of `myelin inspect`. */
export const inspectHelp: Help = {
  usage: ['myelin inspect <directory> [--session <id>] [--retained] [--json] [--limit <number>]'],
  about: 'Lists what a broker has kept in a directory: its sessions, or with --session one of them and its queue, or with --retained the retained messages. Reads only, and the broker may be running.',
  groups: [{ title: 'Inspection', options: inspectOptions }],
  notes: ['Counts and bytes of waiting messages are not read but known from the ends of the queue: what expired or was taken out in between may still be in them.'],
}

const reasons: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no such directory'], ['ENOTDIR', 'that is no directory'], ['EACCES', 'not allowed to read that directory'],
])

async function checkDirectory (directory: string): Promise<void> {
  const names = await readdir(directory).catch((error: unknown) => {
    throw failure(`cannot inspect ${directory}: ${reasons.get(systemErrorCode(error) ?? '') ?? String(error)}`, error)
  })
  if (names.length === 0) throw failure(`cannot inspect ${directory}: it is empty, no broker has kept anything there`)
}

type Settings = Values<InspectOptions>

function linesOf (store: Store, state: StoreState, { session, retained, json = false, limit }: Settings): AsyncIterable<string> {
  if (json) return jsonLines(store, state, { session, retained, limit: limit ?? Infinity })
  return textLines(store, state, { session, retained, limit: limit ?? (session === undefined ? Infinity : shownMessages) }, Date.now())
}

/** Writes as fast as it is read: what is kept may be more than fits into memory. */
async function write (lines: AsyncIterable<string>, output: Writable): Promise<number> {
  let count = 0
  for await (const line of lines) {
    count++
    if (!output.write(`${line}\n`)) await once(output, 'drain')
  }
  return count
}

async function show (store: Store, settings: Settings, terminal: Terminal): Promise<void> {
  const state = await store.open()
  try {
    const count = await write(linesOf(store, state, settings), terminal.output)
    if (count === 0 && settings.session !== undefined) throw failure(`there is no session of ${printable(settings.session)} in ${settings.directory ?? ''}`)
  } finally {
    await store.close()
  }
}

/**
 * `myelin inspect`: lists what is kept in a directory.
 * @throws {CommandError} when nothing is kept there, or it cannot be read.
 */
export async function inspect (args: readonly string[], terminal: Terminal): Promise<void> {
  const settings = readArguments(inspectOptions, args)
  if (settings.help === true) { terminal.output.write(helpText(inspectHelp)); return }
  const { directory } = settings
  if (directory === undefined) throw usageError('inspect: the directory is missing, such as ./data')
  if (settings.session !== undefined && settings.retained === true) throw usageError('inspect: give one of --session and --retained')
  await checkDirectory(directory)
  try {
    await show(await dataStore({ path: directory, readOnly: true }), settings, terminal)
  } catch (error) {
    throw storeFailure(error)
  }
}
