import type { ConnectionOptions } from 'node:tls'
import { validateHeaderName, validateHeaderValue } from 'node:http'
import { checkNames, checkNumber, checkOneOf, checkText, optionInvalid } from '../../lib/index.ts'

/** What {@link httpAuth} can be told. */
export interface HttpAuthOptions {
  /** Asked who may connect: `http:` or `https:`. */
  url: string
  /** Asked who may publish and subscribe, the same URL or another one. Default: nobody is asked, and this plugin refuses nobody. */
  authorizeUrl?: string
  /** Default `POST`. */
  method?: 'POST' | 'PUT'
  /** Sent with every question: the place for a secret by which the service knows the broker. */
  headers?: Readonly<Record<string, string>>
  /** For `https:`: authorities, and a certificate of the broker's own. A certificate that is not verified is never accepted. */
  tls?: Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'passphrase' | 'servername'>
  /**
   * Where the answer stands. `json`: in the body of a 200, and a body that does not say so is no answer. `status`: any 2xx allows, whatever the body.
   * In both 204 allows and 4xx refuses. Default `json`.
   */
  answer?: 'json' | 'status'
  /** Of a client that connects, when the service does not answer: `refuse` it, or `abstain`, so that the next plugin is asked. Default `refuse`. */
  whenUnavailable?: 'refuse' | 'abstain'
  /** Milliseconds until a question must be answered, waiting included. Default 3,000. */
  timeoutMs?: number
  /** Connections to the service, kept open. Default 10. */
  maximumConnections?: number
  /** Questions that wait for a connection; over it clients are told Server busy (0x89). Default 1,000. */
  maximumWaiting?: number
  /** Bytes of an answer. Default 65,536. */
  maximumAnswerSize?: number
  /** Milliseconds for which an answer about credentials holds; 0 asks every time. Default 10,000. */
  authenticateCacheMs?: number
  /** Milliseconds for which an answer about a topic holds; 0 asks every time. Default 60,000. */
  authorizeCacheMs?: number
  /** Answers of each kind that are remembered; the oldest makes room. Default 100,000. */
  maximumCached?: number
  /** Addresses whose questions fail in a row until the service is left alone; where it cannot be reached at all each failure counts. Default 5. */
  maximumFailures?: number
  /** Milliseconds until it is tried again. Default 10,000. */
  retryAfterMs?: number
  /** Told in errors and logs; to have several. Default `http-auth`. */
  name?: string
}

/** The options with their defaults. */
export type Settings = Required<Omit<HttpAuthOptions, 'authorizeUrl' | 'tls' | 'url'>> & { readonly url: URL, readonly authorizeUrl: URL | undefined, readonly tls: HttpAuthOptions['tls'] }

const defaults = {
  method: 'POST', headers: {}, answer: 'json', whenUnavailable: 'refuse', name: 'http-auth',
  timeoutMs: 3000, maximumConnections: 10, maximumWaiting: 1000, maximumAnswerSize: 65_536,
  authenticateCacheMs: 10_000, authorizeCacheMs: 60_000, maximumCached: 100_000, maximumFailures: 5, retryAfterMs: 10_000,
} as const

const minimums = {
  timeoutMs: 1, maximumConnections: 1, maximumWaiting: 0, maximumAnswerSize: 1, authenticateCacheMs: 0, authorizeCacheMs: 0, maximumCached: 0, maximumFailures: 1, retryAfterMs: 1,
} as const

const choices = { method: ['POST', 'PUT'], answer: ['json', 'status'], whenUnavailable: ['refuse', 'abstain'] } as const

/** @throws MqttError that names the first option that is wrong, without secrets */
export function settle (options: HttpAuthOptions): Settings {
  checkNames(options, ['url', 'authorizeUrl', 'tls', ...Object.keys(defaults)])
  const settings = { ...defaults, ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) } as Required<HttpAuthOptions>
  for (const name of Object.keys(minimums) as (keyof typeof minimums)[]) checkNumber(name, settings[name], minimums[name], name === 'maximumCached' ? 2 ** 24 : 2 ** 31 - 1)
  for (const name of Object.keys(choices) as (keyof typeof choices)[]) checkOneOf(name, settings[name], choices[name])
  checkText('name', settings.name)
  checkHeaders(settings.headers)
  if (options.tls !== undefined && (typeof options.tls !== 'object' || options.tls as unknown === null)) throw optionInvalid('tls', 'an object of options of TLS', typeof options.tls)
  return { ...settings, url: urlOf('url', options.url), authorizeUrl: options.authorizeUrl === undefined ? undefined : urlOf('authorizeUrl', options.authorizeUrl), tls: options.tls }
}

function urlOf (name: string, text: unknown): URL {
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined
  const isRight = url !== undefined && ['http:', 'https:'].includes(url.protocol) && url.username === '' && url.password === ''
  // What is wrong with it may be that it has a secret.
  if (!isRight) throw optionInvalid(name, 'an http: or https: URL without user name and password, which belong into headers', url === undefined ? typeof text : url.origin)
  return url
}

function checkHeaders (headers: unknown): void {
  if (typeof headers !== 'object' || headers === null || Symbol.iterator in headers) throw optionInvalid('headers', 'an object of texts', typeof headers)
  for (const [name, value] of Object.entries(headers)) {
    try {
      validateHeaderName(name)
      if (typeof value !== 'string') throw new TypeError('no text')
      validateHeaderValue(name, value)
    } catch {
      throw optionInvalid(`headers.${name}`, 'a header and a text that HTTP allows', typeof value)
    }
  }
}
