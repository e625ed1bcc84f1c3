import { failure, systemErrorCode } from './command-error.ts'

/** Packages that only the command line needs: a host that embeds the broker does not have to install them. */
const peers = ['pino', 'zod', 'mqtt', 'lmdb', 'fast-json-stable-stringify'] as const
const clusterPeers = ['ioredis', 'fast-json-stable-stringify'] as const

/** Packages that one plugin needs. */
const pluginPeers = ['jose', 'undici'] as const

/**
 * Loads a part of the command line that needs one of the optional packages.
 * @param otherwise what one can do without it, added to the error
 * @throws {CommandError} that says what to install when it is missing.
 */
export async function withPeers<T> (load: () => Promise<T>, otherwise = ''): Promise<T> {
  try {
    return await load()
  } catch (error) {
    const isMissing = (peer: string): boolean => error instanceof Error && error.message.includes(`'${peer}'`)
    const missing = [...peers, ...clusterPeers, ...pluginPeers].find(isMissing)
    if (missing === undefined || systemErrorCode(error) !== 'ERR_MODULE_NOT_FOUND') throw error
    const needed = missing === 'ioredis' ? clusterPeers : pluginPeers.some(peer => peer === missing) ? [missing] : peers
    throw failure(`the command line needs the package ${missing}: npm install ${needed.join(' ')}${otherwise}`, error)
  }
}
