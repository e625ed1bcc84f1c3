import { numberedScript, type Script } from '../link/script.ts'
import { sessionState } from '../fragments/session.lua.ts'
import { take } from '../fragments/take.lua.ts'
import { tell } from '../fragments/tell.lua.ts'

/**
 * ARGV: Client Identifier; number of the Session that begins when there is none; 1 if a Session whose Client is online at a living node is left there; what the node has read of inboxes, `generation,first,last;…`; 1 if the
 * answer is to be bounded.
 *
 * Answers with [log end, 'own', number]; with [log end, 'held', generation] of such a node; with [log end, 'read', stretches] when the node has to read those first, and nothing was done; or, for a Session that
 * comes from another node, with [log end, 'imported', number, what it is, stretches, frames, last origin in the own inbox, when a dead owner was last heard of].
 *
 * When it is repeated it answers what it did the first time: `k` of a Session is the number of the call that took it. What another node took away
 * meanwhile is taken back, unless it began with this call: then the other's notice is still to be read.
 */
export const claimScript: Script = numberedScript(`${sessionState}${tell}${take}
local client, fresh, is_polite, read, is_bounded = ARGV[3], ARGV[4], ARGV[5] == '1', ARGV[6], ARGV[7] == '1'

local function reply (...) return { text(counter(P, 'n', 'log')), ... } end

local function begin ()
  redis.call('SET', P .. 'c:' .. client, fresh)
  redis.call('HSET', P .. 's:' .. fresh, 'c', client, 'o', G, 'h', inbox_end(P, G))
  redis.call('SADD', P .. 'own:' .. G, fresh)
  return reply('own', fresh)
end

-- who is online stays online
local function move (number, owner)
  local place = redis.call('HGET', P .. 's:' .. number, 'n') or owner
  if redis.call('SREM', P .. 'on:' .. place, client) == 0 then return false end
  redis.call('SADD', P .. 'on:' .. G, client)
  return true
end

local function imported (number, stretches, frames, heard)
  return reply('imported', number, session_state(P, number), stretches, frames, redis.call('HGET', P .. 's:' .. number, 'h'), heard)
end

if not repeated then advance() end
local number = redis.call('GET', P .. 'c:' .. client)
local session = number and redis.call('HMGET', P .. 's:' .. number, 'o', 'd', 'k', 'm', 'v') or {}
local owner = session[1]
if not owner or session[2] then return begin() end
if owner == G then
  if not repeated or session[3] ~= ARGV[2] then return reply('own', number) end
  local stretches = session[4] or ''
  return imported(number, stretches, frames_of(P, stretches, read, false), session[5] or '')
end
local is_stored = redis.call('HEXISTS', P .. 's:' .. number, 'r') == 1
if repeated and not is_stored then return reply('own', fresh) end
if is_polite and is_stored and is_alive(P, owner) and redis.call('SISMEMBER', P .. 'on:' .. owner, client) == 1 then return reply('held', owner) end
local stretches = is_stored and stretches_of(P, number, owner) or ''
local frames = frames_of(P, stretches, read, is_bounded)
if not frames then return reply('read', stretches) end
local heard = ''
if not is_alive(P, owner) then heard = redis.call('ZSCORE', P .. 'hb', owner) or '' end

-- it is told last, so that it knows up to where the log says what this node wants
local function evict ()
  if is_alive(P, owner) then send(P, owner, 'e', client, 's', number, 'l', text(counter(P, 'n', 'log'))) end
end

local is_online = move(number, owner)
if not is_stored then
  evict()
  forget(P, number, owner)
  if is_online then redis.call('HSET', P .. 's:' .. fresh, 'n', G) end
  return begin()
end
if is_online then redis.call('HSET', P .. 's:' .. number, 'n', G) end
take(P, G, ARGV[2], number, owner, stretches)
if heard ~= '' then redis.call('HSET', P .. 's:' .. number, 'v', heard) else redis.call('HDEL', P .. 's:' .. number, 'v') end
local told = {}
tell_moves(P, G, want(P, G, number, told, {}) and 1 or 0, told)
evict()
return imported(number, stretches, frames, heard)
`)
