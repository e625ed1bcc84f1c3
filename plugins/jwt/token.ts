import type { AuthenticateRequest } from '../../lib/index.ts'
import type { TokenSource } from './options.ts'

/** Three parts of base64url, of which the first begins like `{"`; the third is missing where nobody has signed. A password that looks so is rare enough. */
const form = /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/

/** The first thing in a CONNECT that looks like a token; undefined when there is none. A text that is too long is not looked at, but begins like one. */
export function findToken (request: AuthenticateRequest, sources: readonly TokenSource[], maximumBytes: number): string | undefined {
  for (const source of sources) {
    const text = textAt(source, request)
    if (text !== undefined && (text.length > maximumBytes ? text.startsWith('eyJ') : form.test(text))) return text
  }
  return undefined
}

function textAt (source: TokenSource, request: AuthenticateRequest): string | undefined {
  if (typeof source === 'function') return source(request)
  if (source === 'password') return request.password?.toString('latin1')
  if (source === 'username') return request.username
  const upgrade = request.connection.request
  if (upgrade === undefined) return undefined
  if (source === 'header') return /^Bearer +([^ ]+) *$/i.exec(upgrade.headers.authorization ?? '')?.[1]
  return 'query' in source ? parameter(upgrade.url ?? '', source.query) : cookie(upgrade.headers.cookie ?? '', source.cookie)
}

function parameter (url: string, name: string): string | undefined {
  const start = url.indexOf('?')
  return start < 0 ? undefined : new URLSearchParams(url.slice(start)).get(name) ?? undefined
}

function cookie (header: string, name: string): string | undefined {
  const pair = header.split(';').map(text => text.trim()).find(text => text.startsWith(`${name}=`))
  return pair?.slice(name.length + 1)
}
