import { createLocalJWKSet, errors, type JWTVerifyGetKey } from 'jose'
import { fileInvalid, ReloadableFile, type Broker } from '../../lib/index.ts'
import { parseKeySet } from './key-set.ts'
import type { Keys } from './keys.ts'

/** A key set in a file. */
export class FileKeys implements Keys {
  version = 0
  readonly #file: ReloadableFile
  #find: JWTVerifyGetKey | undefined = undefined

  constructor (path: string, watch: boolean) {
    this.#file = new ReloadableFile({
      path,
      watch,
      load: text => {
        this.#find = createLocalJWKSet(parseKeySet(text, fault => fileInvalid(path, fault)))
        this.version++
      },
    })
  }

  get areUsable (): boolean { return this.#find !== undefined }

  readonly find: JWTVerifyGetKey = (header, token) => {
    if (this.#find === undefined) throw new errors.JWKSNoMatchingKey()
    return this.#find(header, token)
  }

  setup (broker: Broker): Promise<void> { return this.#file.open(broker) }

  reload (): Promise<void> { return this.#file.reload() }

  close (): void { this.#file.close() }
}
