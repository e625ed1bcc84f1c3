/**
 * Lua functions that other scripts begin with. An inbox is kept from the first entry on that is not settled, or that a Session still needs which
 * was claimed from its node (`hold:`); with a node that is gone its inbox goes when no Session needs it any more.
 */
export const holds: string = `
local function trim_inbox (P, generation)
  local first = tonumber(redis.call('HGET', P .. 'cur', generation) or '0') + 1
  local held = redis.call('ZRANGE', P .. 'hold:' .. generation, 0, 0, 'WITHSCORES')[2]
  if held and tonumber(held) < first then first = tonumber(held) end
  redis.call('XTRIM', P .. 'in:' .. generation, 'MINID', string.format('%.0f-0', first))
end

local function release_hold (P, generation, number)
  redis.call('ZREM', P .. 'hold:' .. generation, number)
  if redis.call('HEXISTS', P .. 'nodes', generation) == 1 then
    trim_inbox(P, generation)
  elseif redis.call('EXISTS', P .. 'hold:' .. generation) == 0 then
    redis.call('UNLINK', P .. 'in:' .. generation)
  end
end

local function release_holds (P, number)
  local remainders = redis.call('HGET', P .. 's:' .. number, 'm')
  if not remainders then return end
  redis.call('HDEL', P .. 's:' .. number, 'm')
  for generation in remainders:gmatch('(%d+),%d+,%d+,%d+') do release_hold(P, generation, number) end
end
`
