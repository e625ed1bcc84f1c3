import { didYouMean } from '../../lib/base/nearest.ts'
import { CommandError, systemErrorCode, usageError } from './command-error.ts'
import { withPeers } from './peers.ts'
import type { Terminal } from './terminal.ts'

type Command = (args: readonly string[], terminal: Terminal) => Promise<void>

// Each command is loaded when it is called: `myelin pub` does not pay for the broker, nor the broker for the client.
const commands: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['start', async () => (await import('./broker/start.ts')).start],
  ['pub', async () => (await withPeers(() => import('./pub.ts'))).pub],
  ['sub', async () => (await withPeers(() => import('./sub.ts'))).sub],
  ['inspect', async () => (await withPeers(() => import('./inspect/inspect.ts'))).inspect],
  ['passwd', async () => (await import('./passwd.ts')).passwd],
  ['hash-password', async () => (await import('./hash-password.ts')).hashPasswordCommand],
  ['config-schema', async () => (await withPeers(() => import('./config-schema.ts'))).configSchema],
])

async function commandOf (name: string): Promise<Command> {
  const load = commands.get(name)
  if (load === undefined) throw usageError(`unknown command "${name}"${didYouMean(name, commands.keys())}`)
  return load()
}

/** Takes the command off the arguments: without one it is `start`, and `help <command>` is `<command> --help`. */
function split (args: readonly string[]): [name: string, rest: readonly string[]] {
  const [name, ...rest] = args
  if (name === undefined || name.startsWith('-')) return ['start', args]
  if (name === 'help') return [rest[0] ?? 'start', ['--help']]
  return [name, rest]
}

// A reader that has enough, such as `head`, is no error.
function endQuietly (terminal: Terminal): void {
  terminal.output.on('error', error => { terminal.exit(systemErrorCode(error) === 'EPIPE' ? 0 : 1) })
}

/** Runs a command line and resolves to its exit code: 0 done, 1 failed, 2 called wrongly. */
export async function run (args: readonly string[], terminal: Terminal): Promise<number> {
  endQuietly(terminal)
  const [name, rest] = split(args)
  try {
    const command = await commandOf(name)
    await command(rest, terminal)
    return 0
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
    terminal.error.write(`myelin: ${error.message}\n`)
    return error.exitCode
  }
}
