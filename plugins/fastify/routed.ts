import type { FastifyInstance } from 'fastify'

/** How an app compares the path of a URL with that of a route: see its `routerOptions`. */
interface Comparison {
  readonly ignoreTrailingSlash?: boolean | undefined
  readonly ignoreDuplicateSlashes?: boolean | undefined
  readonly caseSensitive?: boolean | undefined
  readonly useSemicolonDelimiter?: boolean | undefined
}

/**
 * Says of a path, as the client wrote it, whether the app's router brings it to the route of that path. The router is asked again afterwards, with all that it
 * knows: what only seems to be for that route gets the answer that the app has for it.
 */
export function routedTo (app: FastifyInstance, routePath: string): (path: string) => boolean {
  const { routerOptions = {}, ...options } = app.initialConfig
  const comparison = combined(options, routerOptions)
  const wanted = plain(routePath, comparison)
  return path => path === routePath || plain(decoded(path, comparison), comparison) === wanted
}

/** The options may stand in `routerOptions` or beside it, and defaults in the other place. */
function combined (...options: readonly Comparison[]): Comparison {
  return {
    ignoreTrailingSlash: options.some(({ ignoreTrailingSlash }) => ignoreTrailingSlash),
    ignoreDuplicateSlashes: options.some(({ ignoreDuplicateSlashes }) => ignoreDuplicateSlashes),
    useSemicolonDelimiter: options.some(({ useSemicolonDelimiter }) => useSemicolonDelimiter),
    caseSensitive: options.every(({ caseSensitive }) => caseSensitive !== false),
  }
}

function decoded (path: string, { useSemicolonDelimiter }: Comparison): string {
  const [bare = ''] = path.replace(/^[a-z][a-z\d+.-]*:\/\/[^/]*/i, '').split(useSemicolonDelimiter === true ? /[#;]/ : '#')
  try {
    return decodeURI(bare)
  } catch {
    return bare // the app answers 400 to what comes through with such a path
  }
}

function plain (path: string, { ignoreTrailingSlash, ignoreDuplicateSlashes, caseSensitive }: Comparison): string {
  const once = ignoreDuplicateSlashes === true ? path.replace(/\/{2,}/g, '/') : path
  const bare = ignoreTrailingSlash === true && once.length > 1 ? once.replace(/\/$/, '') : once
  return caseSensitive === false ? bare.toLowerCase() : bare
}
