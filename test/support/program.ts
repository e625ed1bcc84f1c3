import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Test } from 'tap'
import ts from 'typescript'

export const root: string = join(import.meta.dirname, '..', '..')

/** What a user imports, and the source of it in this project: as package.json has it, so that both stay true. */
export function publicSources (): ReadonlyMap<string, string> {
  const { name, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { name: string, exports: Record<string, string | { default: string }> }
  return new Map(Object.entries(exports).flatMap(([path, target]) => typeof target === 'string'
    ? []
    : [[name + path.slice(1), join(root, target.default.replace('dist/', '').replace(/\.js$/, '.ts'))]]))
}

/** A program in a process of its own. */
export interface Program {
  readonly child: ChildProcess
  /** The free port that it got in the place of the first one it wanted to listen on. */
  readonly port: Promise<number>
  /** What it printed, once it has ended. */
  readonly output: Promise<string>
  /** Its exit code and signal. */
  readonly exit: Promise<unknown[]>
}

/**
 * Runs TypeScript programs of this project against its sources, not against the last build. Everything is stripped of its types
 * once, so that a program starts as fast as plain JavaScript does, on any Node.
 */
export class Workshop {
  readonly #folder: string
  #count = 0

  /** Works in a folder of the test, which goes with it. */
  constructor (t: Test) {
    this.#folder = t.testdir({})
    const folders = new Set([...publicSources().values()].map(dirname).concat(join(root, 'test', 'contract'))) // which myelin/testing has
    for (const folder of folders) for (const file of typeScriptFiles(folder)) this.#strip(file, relative(root, file))
    this.#strip(join(import.meta.dirname, 'free-port.ts'), 'free-port.ts')
  }

  /** Starts a program; it is killed with the test, and its problems are the test's comments. */
  run (t: Test, program: string, ...args: string[]): Program {
    const name = `program-${++this.#count}`
    this.#write(`${name}.js`, stripped(this.#againstSources(program)))
    const child = spawn(process.execPath, ['--import', `./free-port.js`, `${name}.js`, ...args], { cwd: this.#folder, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    child.stderr?.on('data', (chunk: Buffer) => { t.comment(chunk.toString()) })
    t.teardown(() => { child.kill('SIGKILL') })
    const port = portOf(child)
    port.catch(() => undefined) // not every program listens
    return { child, port, output: text(child.stdout as NodeJS.ReadableStream), exit: once(child, 'exit') }
  }

  #againstSources (program: string): string {
    const sources = publicSources()
    return program.replace(/(?<=from ')myelin(?:\/[^']*)?(?=')/g, specifier => {
      const source = sources.get(specifier)
      if (source === undefined) throw new Error(`package.json exports no ${specifier}`)
      return `./${relative(root, source).replace(/\.ts$/, '.js')}`
    })
  }

  #strip (file: string, to: string): void {
    this.#write(to.replace(/\.ts$/, '.js'), stripped(readFileSync(file, 'utf8')))
  }

  #write (path: string, program: string): void {
    const file = join(this.#folder, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, program)
  }
}

function typeScriptFiles (folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).map(name => join(folder, name))
}

function stripped (program: string): string {
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, verbatimModuleSyntax: true, rewriteRelativeImportExtensions: true }
  return ts.transpileModule(program, { compilerOptions }).outputText
}

async function portOf (child: ChildProcess): Promise<number> {
  const listening = once(child, 'message').then(([{ port }]) => port as number)
  return Promise.race([listening, once(child, 'exit').then(([code]) => { throw new Error(`the program ended with ${String(code)} before it listened`) })])
}
