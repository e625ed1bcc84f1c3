/** Entries of the stream of who comes and goes: only who is slow to listen misses some. */
const presenceLength = 10_000

/**
 * Lua functions that note who is online where: in `on:` of the node, and in the field `n` of the Session, so that a Client that moves is known to be online still.
 * What changes is told in the stream `pr`.
 */
export const presence: string = `
local function tell_presence (P, generation, client, is_online)
  local position = string.format('%.0f', redis.call('HINCRBY', P .. 'n', 'presence', 1))
  redis.call('XADD', P .. 'pr', 'MAXLEN', '~', ${presenceLength}, position .. '-0', 'c', client, 'g', generation, 'o', is_online and '1' or '0')
end

-- of the Session that a Client Identifier has: its key, its owner and where its Client is online
local function session_of (P, client)
  local number = redis.call('GET', P .. 'c:' .. client)
  if not number then return nil end
  local fields = redis.call('HMGET', P .. 's:' .. number, 'o', 'n')
  return P .. 's:' .. number, fields[1], fields[2]
end

-- what another node has by now is online there
local function set_online (P, G, client)
  local session, owner, place = session_of(P, client)
  if owner and owner ~= G then return end
  if place and place ~= G then redis.call('SREM', P .. 'on:' .. place, client) end
  if session and owner then redis.call('HSET', session, 'n', G) end
  if redis.call('SADD', P .. 'on:' .. G, client) == 1 and not place then tell_presence(P, G, client, true) end
end

local function set_offline (P, generation, client)
  local session, _, place = session_of(P, client)
  if place == generation then redis.call('HDEL', session, 'n') end
  local was_online = redis.call('SREM', P .. 'on:' .. generation, client) == 1
  if was_online and (not place or place == generation) then tell_presence(P, generation, client, false) end
end
`
