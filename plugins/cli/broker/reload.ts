import type { Logger } from '../../../lib/index.ts'
import { check, readSettings } from '../options/settings.ts'
import type { Values } from '../options/kinds.ts'
import type { Settings, StartOptions } from '../options/start-options.ts'
import { messageOf, type Access } from './access.ts'
import { renewedTls, type Listener } from './listeners.ts'

/** What a running broker takes over from the configuration file; the rest has to wait for the next start. */
const live = ['users', 'access', 'allowAnonymous', 'tlsCert', 'tlsKey'] as const

/** What is reloaded. */
export interface Reloadable {
  readonly access: Access
  readonly listeners: readonly Listener[]
  readonly logger: Logger
}

/** Takes over what has changed in the configuration file and the files that it names, one time after the other. */
export class Reloader {
  /** The settings in force. */
  settings: Settings
  readonly #given: Values<StartOptions>
  #running: Promise<void> = Promise.resolve()
  #isWaiting = false
  #isStopped = false

  constructor (settings: Settings, given: Values<StartOptions>) {
    this.settings = settings
    this.#given = given
  }

  /** Reloads as soon as the time before is done. One that waits already will see what there is then. */
  request (running: Promise<Reloadable>): void {
    if (this.#isWaiting) return
    this.#isWaiting = true
    this.#running = this.#running.then(async () => {
      const parts = await running.catch(() => undefined)
      this.#isWaiting = false
      if (parts !== undefined && !this.#isStopped) await this.#reload(parts)
    })
  }

  /** Resolves when nothing is being reloaded, and nothing will be. */
  stop (): Promise<void> {
    this.#isStopped = true
    return this.#running
  }

  async #reload (parts: Reloadable): Promise<void> {
    try {
      const read = await readSettings(this.#given)
      await this.#apply(check(this.#effective(read)), parts)
      const waiting = this.#waitingFor(read)
      if (waiting.length > 0) parts.logger.warn({ options: waiting }, `read anew; these options have changed, too, but wait for the next start: ${waiting.join(', ')}`)
      else parts.logger.info({}, 'read anew')
    } catch (error) {
      parts.logger.error({ err: error }, `not read anew, all stays as it was: ${messageOf(error)}`)
    }
  }

  async #apply (settings: Settings, { access, listeners }: Reloadable): Promise<void> {
    const tls = settings.tlsCert === undefined ? undefined : renewedTls(settings)
    await access.apply(await access.build(settings), () => {
      this.settings = settings
      if (tls !== undefined) for (const listener of listeners) listener.renew(tls)
    })
  }

  /** The settings as they are, with what can be changed. Whether a server asks for certificates cannot, so that authorities do not come or go. */
  #effective (read: Settings): Settings {
    const fixed = Object.fromEntries(Object.entries(this.settings).filter(([name]) => !live.some(other => other === name)))
    const changed = Object.fromEntries(live.flatMap(name => read[name] === undefined ? [] : [[name, read[name]]]))
    const hasAuthorities = this.settings.tlsCa !== undefined && read.tlsCa !== undefined
    return { ...fixed, ...changed, ...hasAuthorities && { tlsCa: read.tlsCa } } as Settings
  }

  #waitingFor (read: Settings): string[] {
    const [now, then] = [new Map<string, unknown>(Object.entries(this.settings)), new Map<string, unknown>(Object.entries(read))]
    return [...new Set([...now.keys(), ...then.keys()])].filter(name => JSON.stringify(now.get(name)) !== JSON.stringify(then.get(name)))
  }
}
