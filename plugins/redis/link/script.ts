import { createHash } from 'node:crypto'

/** A Lua script, which Redis knows by the hash of its text. KEYS[1] is what all keys begin with. */
export interface Script {
  readonly lua: string
  readonly sha: string
}

export function newScript (lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

/**
 * A script for `Pipe.run`. It finds: `P` what keys begin with, `G` the generation, `N` the number of the call, `repeated` true
 * when it was executed already and only the answer is wanted again, and `advance()`, which has to be called before anything is written.
 * Arguments begin at ARGV[3].
 *
 * The calls of a generation are executed in the order of their numbers, each once: what comes too early is refused with ORDER. A generation
 * without an entry in `last` has been fenced.
 */
export function numberedScript (body: string): Script {
  return newScript(`
local P, G, N = KEYS[1], ARGV[1], tonumber(ARGV[2])
local last = tonumber(redis.call('HGET', P .. 'last', G) or -1)
if last < 0 then return redis.error_reply('FENCED ' .. G) end
if N > last + 1 then return redis.error_reply('ORDER ' .. string.format('%.0f', last)) end
local repeated = N <= last
local function advance() if not repeated then redis.call('HSET', P .. 'last', G, ARGV[2]) end end -- going back would have later calls executed again
${body}`)
}
