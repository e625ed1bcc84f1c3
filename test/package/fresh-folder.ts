import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import ts from 'typescript'
import { root } from '../support/program.ts'

const run = promisify(execFile)

interface Manifest { readonly exports: Readonly<Record<string, unknown>>, readonly peerDependencies: Record<string, string> }

/** The package as npm would publish it, in a file. */
export interface Packed {
  readonly tarball: string
  /** What is in it. */
  readonly files: readonly string[]
  /** What a user imports: `myelin`, `myelin/redis`. */
  readonly names: readonly string[]
  readonly optionalPeers: readonly string[]
}

/** A folder outside of this project, so that nothing in it can find our node_modules; it goes with the test. */
function temporaryFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'myelin-package-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  return folder
}

/** Builds the sources as they are now, never an old `dist`, and packs them. */
export async function pack (t: Test): Promise<Packed> {
  const folder = temporaryFolder(t)
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest
  for (const file of ['package.json', 'README.md', 'LICENSE']) cpSync(join(root, file), join(folder, file))
  const typescript = join(root, 'node_modules/typescript/bin/tsc')
  await run(process.execPath, [typescript, '-p', 'tsconfig.build.json', '--noCheck', '--outDir', join(folder, 'dist')], { cwd: root })
  const [tarball = ''] = await npmPack(folder, folder)
  const { stdout } = await run('tar', ['-tzf', tarball])
  return {
    tarball, names: Object.keys(manifest.exports).filter(path => path !== './package.json').map(path => `myelin${path.slice(1)}`),
    files: stdout.trim().split('\n').map(file => file.replace('package/', '')), optionalPeers: Object.keys(manifest.peerDependencies),
  }
}

/** Tarballs of packages that lie in folders. */
async function npmPack (to: string, ...folders: string[]): Promise<string[]> {
  const { stdout } = await run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', to, ...folders])
  return stdout.trim().split('\n').map(name => join(to, name))
}

/** What a host in TypeScript says in its tsconfig.json. */
export type Settings = Pick<ts.CompilerOptions, 'module' | 'moduleResolution'>

/** Somebody's project: myelin is installed from the tarball, with `ws` and `@types/node`, and nothing else. */
export class FreshFolder {
  readonly path: string
  readonly #t: Test

  private constructor (t: Test) {
    this.#t = t
    this.path = temporaryFolder(t)
  }

  /** By npm, and without a network: what we have installed is packed for it. */
  static async install (t: Test, { tarball }: Packed): Promise<FreshFolder> {
    const fresh = new FreshFolder(t)
    fresh.write('package.json', '{ "private": true }')
    const others = await npmPack(fresh.path, ...['ws', '@types/node', 'undici-types'].map(name => join(root, 'node_modules', name)))
    await run('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--cache', join(fresh.path, '.npm'), tarball, ...others], { cwd: fresh.path })
    return fresh
  }

  write (name: string, text: string): void { writeFileSync(join(this.path, name), text) }

  /** Installs an optional peer: a link to ours. */
  addPeer (name: string): void {
    const link = join(this.path, 'node_modules', name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), link)
  }

  /**
   * What the compiler says about files and the declarations of myelin, as `file: TS2307 message`; what is right is also emitted. Other
   * packages' declarations are read, and for their publishers to check.
   */
  compile (settings: Settings, ...names: string[]): string[] {
    const options: ts.CompilerOptions = {
      ...settings, target: ts.ScriptTarget.ES2023, strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, skipDefaultLibCheck: true,
      types: ['node'], typeRoots: [join(this.path, 'node_modules/@types')],
    }
    const program = ts.createProgram(names.map(name => join(this.path, name)), options)
    const ours = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(this.path) && !/\/node_modules\/(?!myelin\/)/.test(fileName))
    const diagnostics = [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics(),
      ...ours.flatMap(file => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])]
    program.emit()
    return diagnostics.map(({ file, code, messageText }) => `${file === undefined ? '' : relative(this.path, file.fileName)}: TS${code} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`)
  }

  /** Runs a program to its end; its last line of output, read as JSON. */
  async run (name: string): Promise<unknown> {
    const { stdout } = await run(process.execPath, [name], { cwd: this.path })
    return JSON.parse(stdout)
  }

  /** Starts a host that prints its port; it ends with the test. */
  async start (name: string): Promise<number> {
    const child = spawn(process.execPath, [name], { cwd: this.path, stdio: ['ignore', 'pipe', 'pipe'] })
    child.stderr.on('data', (chunk: Buffer) => { this.#t.comment(chunk.toString()) })
    this.#t.teardown(() => { child.kill('SIGKILL') })
    const ended = once(child, 'exit').then(() => { throw new Error(`${name} ended before it listened`) })
    const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), ended]) as string[]
    return Number(line)
  }
}
