import t from 'tap'
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { publint } from 'publint'
import ts from 'typescript'
import { FreshFolder, pack, type Settings } from './package/fresh-folder.ts'
import { dial } from './support/network/network.ts'
import { root } from './support/program.ts'

t.setTimeout(240_000) // npm and the compiler take their time on a busy machine

const run = promisify(execFile)
const packed = await pack(t)
const { names, optionalPeers } = packed
const fresh = await FreshFolder.install(t, packed)

const { NodeNext, ESNext, CommonJS } = ts.ModuleKind
const bundler = ts.ModuleResolutionKind.Bundler

function moduleName (file: string): string { return file.replace(/\.ts$/, '.mts') }

/** Imports all that is exported, as `namespaces`. */
const importAll = `${names.map((name, i) => `import * as n${i} from '${name}'`).join('\n')}\nexport const namespaces: readonly object[] = [${names.map((_, i) => `n${i}`).join(', ')}]\n`

t.test('the package holds what was built of lib, plugins and the contract tests, and nothing else', t => {
  const strays = packed.files.filter(file => !/^dist\/(lib|plugins|test\/contract)\/[\w/.-]+\.(js|js\.map|d\.ts)$/.test(file))
  t.strictSame(strays.sort(), ['LICENSE', 'README.md', 'package.json'])
  t.strictSame(packed.files.filter(file => /\.test\.|\.ts$/.test(file) && !file.endsWith('.d.ts')), [], 'no test and no source')
  t.ok(packed.files.includes('dist/test/contract/store.js'), 'myelin/testing needs it')
  t.end()
})

t.test('publint finds nothing to say', async t => {
  const { messages } = await publint({ pack: { tarball: new Uint8Array(readFileSync(packed.tarball)).buffer }, strict: true })
  t.strictSame(messages, [])
})

t.test('attw finds nothing wrong in any mode of resolution, with .attw.json', async t => {
  const attw = join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js')
  const { stdout } = await run(process.execPath, [attw, packed.tarball, '--format', 'ascii', '--no-color'], { cwd: root, maxBuffer: 2 ** 26 })
  t.match(stdout, 'No problems found')
  t.strictSame(JSON.parse(readFileSync(join(root, '.attw.json'), 'utf8')), { ignoreRules: ['cjs-resolves-to-esm'] }, 'docs/packaging.md says why')
})

t.test('TypeScript hosts compile under nodenext, as CommonJS and as ES module, and serve a client', async t => {
  const source = readFileSync(join(root, 'test/package/host.ts'), 'utf8')
  fresh.write('host.cts', source)
  fresh.write('host.mts', source)
  const typeTests = readdirSync(join(root, 'test/types'))
  for (const file of typeTests) fresh.write(moduleName(file), readFileSync(join(root, 'test/types', file), 'utf8'))
  t.strictSame(fresh.compile({ module: NodeNext }, 'host.cts', 'host.mts', ...typeTests.map(moduleName)), [], 'test/types/ holds for the published declarations, too')
  for (const [name, call] of [['host.cjs', 'require'], ['host.mjs', 'import']] as const) {
    t.match(readFileSync(join(fresh.path, name), 'utf8'), new RegExp(`\\b${call}\\b.*myelin`))
    const client = await dial(t, `mqtt://127.0.0.1:${await fresh.start(name)}`, { protocolVersion: 5, username: 'ada' })
    await client.mqtt.subscribeAsync('ada/#', { qos: 1 })
    await client.mqtt.publishAsync('ada/lamp', name, { qos: 1 })
    t.strictSame(await client.texts(1), [name])
    await t.rejects(client.mqtt.publishAsync('grace/lamp', '', { qos: 1 }), { code: 0x87 }, 'client.data is what authenticate attached')
  }
})

for (const [title, settings] of new Map<string, Settings>([
  ['module esnext, moduleResolution bundler', { module: ESNext, moduleResolution: bundler }],
  ['module commonjs, moduleResolution bundler', { module: CommonJS, moduleResolution: bundler }],
])) {
  t.test(`a TypeScript host compiles under ${title}`, t => {
    fresh.write('bundled.ts', readFileSync(join(root, 'test/package/host.ts'), 'utf8'))
    t.strictSame(fresh.compile(settings, 'bundled.ts'), [])
    t.end()
  })
}

t.test('a program that requires and imports the package has it once', async t => {
  fresh.write('both.cjs', `
    const required = require('myelin')
    async function main () {
      const imported = await import('myelin')
      const broker = await required.createBroker()
      const error = await broker.publish('#', '').catch(error => error)
      await broker.close()
      console.log(JSON.stringify([required.MqttError === imported.MqttError, error instanceof required.MqttError, error instanceof imported.MqttError]))
    }
    void main()
  `)
  t.strictSame(await fresh.run('both.cjs'), [true, true, true])
})

/** Loads every export both ways and prints what went wrong by name. */
const loadAll = `
  async function main () {
    const faults = []
    for (const name of ${JSON.stringify(names)}) {
      const imported = await import(name).catch(error => { faults.push([name, error.message]) })
      try {
        if (require(name) !== imported) faults.push([name, 'is there twice'])
      } catch (error) {
        faults.push([name, error.message])
      }
    }
    console.log(JSON.stringify(faults))
  }
  void main()
`

t.test('without the optional peers every export loads, or says which package is missing', async t => {
  fresh.write('load.cjs', loadAll)
  const faults = await fresh.run('load.cjs') as [string, string][]
  for (const [name, message] of faults) {
    const [, missing = ''] = /^Cannot find (?:package|module) '([^']+)'/.exec(message) ?? []
    t.ok(optionalPeers.includes(missing), `${name}: ${message}`)
  }
  const self = ['myelin', 'myelin/scram', 'myelin/testing', 'myelin/aedes']
  t.strictSame(faults.map(([name]) => name).filter(name => self.includes(name)), [], 'these need none')
})

t.test('without the optional peers the declarations lack nothing but those', t => {
  fresh.write('all.mts', importAll)
  for (const diagnostic of fresh.compile({ module: NodeNext }, 'all.mts')) {
    const [, missing = ''] = /^node_modules\/myelin\/dist\/plugins\/.*: TS2307 Cannot find module '([^']+)'/.exec(diagnostic) ?? []
    t.ok(optionalPeers.includes(missing), diagnostic)
  }
  t.end()
})

t.test('with the optional peers every export loads and its declarations are whole', async t => {
  for (const peer of optionalPeers) fresh.addPeer(peer)
  fresh.write('load.cjs', loadAll)
  t.strictSame(await fresh.run('load.cjs'), [])
  t.strictSame(fresh.compile({ module: NodeNext }, 'all.mts'), [])
})
