import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createService } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as Myelin from '../../lib/index.ts'
import type * as Acl from '../../plugins/acl/index.ts'
import type * as HttpAuth from '../../plugins/http-auth/index.ts'
import type * as Jwt from '../../plugins/jwt/index.ts'
import type * as PasswordFile from '../../plugins/password-file/index.ts'
import type * as RateLimit from '../../plugins/rate-limit/index.ts'
import type { VariantId } from './variants.ts'

const own: Acl.AccessRule = { allow: ['publish', 'subscribe'], topics: 'bench/#' }
const secret: Acl.AccessRule = { deny: 'deliver', topics: 'bench/+/secret' }
const everybody: Myelin.Plugin = { name: 'everybody', hooks: { authenticate: () => true } }
const often = 10_000_000

/** Makes the plugins of the variants, of Myelin as built in a folder. */
export class Variants {
  readonly #root: string

  constructor (root: string) { this.#root = root }

  /** A broker with the plugins of a variant. */
  async createBroker (variant: VariantId, options: Myelin.BrokerOptions = {}): Promise<Myelin.Broker> {
    const { createBroker } = await this.#load('lib') as typeof Myelin
    return createBroker({ ...options, plugins: await this.#pluginsOf(variant) })
  }

  #load (folder: string): Promise<unknown> { return import(pathToFileURL(join(this.#root, 'dist', folder, 'index.js')).href) }

  async #pluginsOf (variant: VariantId): Promise<Myelin.Plugin[]> {
    switch (variant) {
      case 'none': return []
      case 'yes': return [{ name: 'yes', hooks: { authorizePublish: () => true } }]
      case 'yes-deliver': return [{ name: 'yes', hooks: { authorizeDeliver: () => true } }]
      case 'rules': return [await this.#rules(own)]
      case 'rules-deliver': return [await this.#rules(secret, own)]
      case 'jwt': return [await this.#tokens()]
      case 'http': return [await this.#service()]
      case 'rate': return [await this.#limits()]
      case 'passwords': return [await this.#passwords(), everybody]
    }
  }

  async #rules (...rules: Acl.AccessRule[]): Promise<Myelin.Plugin> {
    const { accessRules } = await this.#load('plugins/acl') as typeof Acl
    return accessRules({ rules })
  }

  /** One token for all, so that nobody has to send it. */
  async #tokens (): Promise<Myelin.Plugin> {
    const { SignJWT } = await import('jose')
    const { jwt } = await this.#load('plugins/jwt') as typeof Jwt
    const key = Buffer.alloc(32, 'k')
    const token = await new SignJWT({ mqtt: { all: ['bench/#'] } }).setProtectedHeader({ alg: 'HS256' }).setSubject('bench').setExpirationTime('1d').sign(key)
    return jwt({ secret: key, permissions: 'mqtt', from: () => token })
  }

  /** A service of its own, which allows everything. */
  async #service (): Promise<Myelin.Plugin> {
    const { httpAuth } = await this.#load('plugins/http-auth') as typeof HttpAuth
    const server = createService((_request, response) => { response.writeHead(204).end() }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    return httpAuth({ url, authorizeUrl: url })
  }

  async #limits (): Promise<Myelin.Plugin> {
    const { rateLimit } = await this.#load('plugins/rate-limit') as typeof RateLimit
    return rateLimit({ publishes: { perSecond: often } })
  }

  /** The load sends no passwords, so another plugin lets it in: what is measured is that nothing is done for a message. */
  async #passwords (): Promise<Myelin.Plugin> {
    const { hashPassword, passwordFile } = await this.#load('plugins/password-file') as typeof PasswordFile
    const folder = mkdtempSync(join(tmpdir(), 'bench-'))
    writeFileSync(join(folder, 'users'), `bench:${await hashPassword('bench')}\n`)
    process.once('exit', () => { rmSync(folder, { recursive: true }) })
    process.once('SIGTERM', () => { process.exit() })
    return passwordFile({ path: join(folder, 'users') })
  }
}
