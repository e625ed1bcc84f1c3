import t from 'tap'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { createBroker, defaultLimits, ErrorCode, ReasonCode, reasonCodeName } from '../lib/index.ts'
import { blocks, pages, read } from './support/pages.ts'
import { publicSources, root } from './support/program.ts'

t.setTimeout(120_000) // the compiler takes its time on a busy machine

/** What the pages use without saying where it comes from: a block that needs it goes on where another one ended. */
const knownNames = `
import type { Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { IncomingMessage } from 'node:http'
import type { Broker } from 'myelin'
declare global {
  const broker: Broker
  const server: Server
  const chat: { handleUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void }
}
`

/** The compiler's complaints about programs that import this package by its name, which leads to the sources. */
function complaints (files: readonly string[]): string[] {
  const config = ts.getParsedCommandLineOfConfigFile(join(root, 'tsconfig.json'), { noEmit: true }, { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined })
  const paths = Object.fromEntries([...publicSources()].map(([name, source]) => [name, [source]]))
  const program = ts.createProgram(files, { ...config?.options, paths })
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file === undefined ? 0 : ts.getLineAndCharacterOfPosition(file, start ?? 0).line + 1
    return `${file?.fileName.replace(/.*\//, '') ?? ''}:${line} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
  })
}

t.test('every ts and js block of the pages, and every example, is well typed', t => {
  const folder = t.testdir({ 'known-names.d.ts': knownNames })
  const files = blocks.map(({ place, code }) => {
    const file = join(folder, `${place.replace(/^docs\//, '').replace(/\.md:/, '-line-')}.ts`)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, `${code}\nexport {}\n`)
    return file
  })
  const examples = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).map(name => join(root, 'examples', name))
  t.ok(files.length > 15, 'the pages have blocks')
  t.strictSame(complaints([join(folder, 'known-names.d.ts'), ...files, ...examples]), [])
  t.end()
})

t.test('a block under the name of an example is that example', t => {
  const quoted = pages.flatMap(page => [...read(page).matchAll(/<!-- (examples\/\S+) -->\n```ts\n(.*?)```/gs)])
  t.ok(quoted.length > 0)
  for (const [, name = '', code] of quoted) t.equal(code, read(name), name)
  t.end()
})

t.test('links lead to files and headings that exist', t => {
  for (const page of pages) {
    for (const [, target = ''] of read(page).matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? join(root, page) : join(root, dirname(page), path)
      t.ok(existsSync(file), `${page} → ${target}`)
      if (anchor !== undefined) t.ok(anchorsOf(readFileSync(file, 'utf8')).includes(anchor), `${page} → ${target}`)
    }
  }
  t.end()
})

function anchorsOf (text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading.toLowerCase().replace(/[^\w\- ]/g, '').replaceAll(' ', '-'))
}

/** The names in the first column of the tables of a page, with the second column. */
function rowsOf (text: string): [name: string, value: string][] {
  return [...text.matchAll(/^\| `(\w+)` \|([^|]*)\|/gm)].map(([, name = '', value = '']) => [name, value.trim()])
}

const units: ReadonlyMap<string, number> = new Map([['KiB', 1024], ['MiB', 1024 ** 2], ['GiB', 1024 ** 3]])

function parsed (value: string): number | string {
  const [, number, unit] = /^([\d,]+)(?: (\w+))?$/.exec(value) ?? []
  return number === undefined ? value.replaceAll('`', '') : Number(number.replaceAll(',', '')) * (unit === undefined ? 1 : units.get(unit) ?? NaN)
}

/** What the code has; the mark for memory depends on the machine. */
const limits = new Map<string, number | string>(Object.entries({ ...defaultLimits, memoryHighWaterMark: 'three quarters of the memory' }))

t.test('docs/limits.md has every limit with its default, and no other', t => {
  const rows = rowsOf(read('docs/limits.md'))
  t.strictSame(rows.map(([name]) => name).sort(), [...limits.keys()].sort())
  for (const [name, value] of rows) t.equal(parsed(value), limits.get(name), name)
  t.end()
})

t.test('the limits in README.md are those of the code', t => {
  const rows = rowsOf(read('README.md'))
  t.ok(rows.length > 5)
  for (const [name, value] of rows) t.equal(parsed(value), limits.get(name), name)
  t.end()
})

t.test('docs/errors.md has every code, and no other', t => {
  t.strictSame(headingsOf('docs/errors.md').sort(), Object.values(ErrorCode).sort())
  t.end()
})

t.test('what the host does wrong is an MqttError with the code that docs/errors.md names', async t => {
  const awake = setInterval(() => undefined, 60_000) // the broker's own timers keep no process alive
  t.teardown(() => { clearInterval(awake) })
  const broker = await createBroker({ sysIntervalMs: 0, hooks: { onPublish: ({ message }) => { if (message.topicName === 'fail') throw new Error('on purpose') } } })
  const wrong: [code: string, call: () => unknown][] = [
    [ErrorCode.optionInvalid, () => createBroker({ limits: { receiveMaximum: 0 } })],
    [ErrorCode.optionInvalid, () => createBroker({ hooks: { authorisePublish: () => true } as never })],
    [ErrorCode.optionInvalid, () => broker.publish('a', 'b', { qos: 3 as never })],
    [ErrorCode.optionInvalid, () => broker.publish('a', 'b', { properties: { messageExpiryInterval: -1 } })],
    [ErrorCode.optionInvalid, () => broker.publish('a', 'b', { properties: { contentType: 5 as never } })],
    [ErrorCode.optionInvalid, () => { broker.handle({} as never) }],
    [ErrorCode.optionInvalid, () => { broker.listener({ proxyProtocol: true })(undefined as never) }],
    [ErrorCode.optionInvalid, () => broker.attach(createServer() as never)],
    [ErrorCode.topicNameInvalid, () => broker.publish('a/#', 'b')],
    [ErrorCode.topicFilterInvalid, () => broker.subscribe('a#')],
    [ErrorCode.hookFailed, () => broker.publish('fail', 'b')],
    [ErrorCode.requestTimeout, () => broker.request('nobody', 'b', { timeoutMs: 0 })],
    [ErrorCode.brokerClosed, async () => { await broker.close(); await broker.publish('a', 'b') }],
  ]
  for (const [code, call] of wrong) await t.rejects(Promise.resolve().then(call), { name: 'MqttError', code }, `${code} for ${String(call)}`)
})

t.test('every error code is raised somewhere', t => {
  const sources = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).map(name => read(`lib/${name}`)).join('\n')
  const unraised = Object.entries(ErrorCode).filter(([name]) => !new RegExp(`ErrorCode\\.${name}\\b`).test(sources)).map(([, code]) => code)
  t.strictSame(unraised, [])
  t.end()
})

t.test('Reason Codes in the pages have the names of the specification', t => {
  const squeezed = (text: string): string => text.toLowerCase().replace(/[^a-z]/g, '')
  for (const page of ['docs/errors.md', 'docs/limits.md', 'docs/hooks.md', 'docs/protocol.md']) {
    for (const [all, words = '', hex = ''] of read(page).matchAll(/([A-Z][A-Za-z\s]+?) \(0x([0-9A-F]{2})\)/g)) {
      t.ok(squeezed(words).endsWith(squeezed(reasonCodeName(parseInt(hex, 16)))), `${page}: ${all.replaceAll('\n', ' ')}`)
    }
  }
  t.equal(reasonCodeName(ReasonCode.notAuthorized), 'notAuthorized')
  t.end()
})

/** The names of the members of an interface in a source file. */
function membersOf (file: string, name: string): string[] {
  const source = ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest)
  const found = source.statements.find(statement => ts.isInterfaceDeclaration(statement) && statement.name.text === name) as ts.InterfaceDeclaration
  return found.members.map(member => (member.name as ts.Identifier).text)
}

/** The headings of the third level that are one word. */
function headingsOf (page: string): string[] {
  return [...read(page).matchAll(/^### (\w+)$/gm)].map(([, heading = '']) => heading)
}

t.test('docs/hooks.md has every hook, and every reason of onDrop', t => {
  t.strictSame(headingsOf('docs/hooks.md').sort(), membersOf('lib/contract/hooks.ts', 'Hooks').sort())
  const [, reasons = ''] = /type DropReason =\n(.*?)\n\n/s.exec(read('lib/contract/hooks.ts')) ?? []
  const inCode = [...reasons.matchAll(/'(\w+)'/g)].map(([, reason]) => reason)
  const [, onDrop = ''] = /### onDrop\n(.*?)###/s.exec(read('docs/hooks.md')) ?? []
  t.strictSame(rowsOf(onDrop).map(([reason]) => reason).sort(), inCode.sort())
  t.end()
})

t.test('docs/options.md has every option, and docs/in-process.md those of subscribe', t => {
  const [options = ''] = read('docs/options.md').split('## Shared Subscriptions')
  t.strictSame(rowsOf(options).map(([name]) => name).sort(), [...membersOf('lib/options/options.ts', 'BrokerOptions'), 'plugins'].sort())
  t.strictSame(rowsOf(read('docs/in-process.md')).map(([name]) => name).sort(), membersOf('lib/host/local-subscription.ts', 'SubscribeOptions').sort())
  t.end()
})

const floors = 'base|topic|packet|contract|hooks|store|session|router|cluster|protocol|connection|options|host|tools'

t.test('docs/architecture.md names files and folders that exist', t => {
  for (const [, name = ''] of read('docs/architecture.md').matchAll(new RegExp(`\\b((?:${floors})/(?:[\\w-]+/)*[\\w-]*(?:\\.ts)?)`, 'g'))) {
    t.ok(existsSync(join(root, 'lib', name)), name)
  }
  t.end()
})

t.test('the pages name files of lib/ that exist', t => {
  for (const page of pages) {
    for (const [, name = ''] of read(page).matchAll(new RegExp(`\`(?:lib/)?((?:${floors})/[\\w/-]+\\.ts)\``, 'g'))) t.ok(existsSync(join(root, 'lib', name)), `${page}: ${name}`)
  }
  t.end()
})
