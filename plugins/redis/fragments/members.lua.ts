/** Clients that one call tells to be offline. */
const pageClients = 500

/** Lua functions of those scripts that know who is there, and who is not any more; they come after `tell` and `presence`. */
export const members: string = `
local function now ()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- somebody is heard: when nobody was for half a lease, Redis was away, and nobody can be taken for dead before a whole one is over
local function hear (P, time, lease)
  local heard = counter(P, 'n', 'heard')
  if heard == 0 or time - heard > lease / 2 then redis.call('HSET', P .. 'n', 'since', text(time)) end
  redis.call('HSET', P .. 'n', 'heard', text(time))
end

local function is_dead (P, generation, time, lease)
  if not is_alive(P, generation) then return true end
  local heard = tonumber(redis.call('ZSCORE', P .. 'hb', generation) or '0')
  return math.max(heard, counter(P, 'n', 'since')) < time - lease
end

-- whether this node may clear away what that one has left; it has it for itself then, for some time and while it lives
local function may_clear (P, G, generation, lease)
  if generation == G or redis.call('HEXISTS', P .. 'nodes', generation) == 0 then return false end
  if not is_dead(P, generation, now(), lease) then return false end
  local other = redis.call('GET', P .. 'reap:' .. generation)
  if other and other ~= G and is_alive(P, other) then return false end
  redis.call('SET', P .. 'reap:' .. generation, G, 'PX', text(math.max(30000, 2 * lease)))
  redis.call('HDEL', P .. 'last', generation)
  return true
end

-- whether nothing was left to do for another call
local function bury (P, generation)
  local clients = redis.call('SRANDMEMBER', P .. 'on:' .. generation, ${pageClients})
  for _, client in ipairs(clients) do set_offline(P, generation, client) end
  if #clients == ${pageClients} then return false end
  if redis.call('EXISTS', P .. 'hold:' .. generation) == 0 then redis.call('UNLINK', P .. 'in:' .. generation) end
  for _, key in ipairs({ 'own:', 'w:', 'reap:' }) do redis.call('UNLINK', P .. key .. generation) end
  redis.call('DEL', P .. 'tk:' .. generation)
  for _, key in ipairs({ 'nodes', 'last', 'inp', 'cur', 'inb', 'cub', 'page', 'refused' }) do redis.call('HDEL', P .. key, generation) end
  redis.call('ZREM', P .. 'hb', generation)
  redis.call('SREM', P .. 'left', generation)
  tell(P, 'k', 'left', 'g', generation)
  return true
end
`
