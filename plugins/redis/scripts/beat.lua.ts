import { numberedScript, type Script } from '../link/script.ts'
import { members } from '../fragments/members.lua.ts'
import { presence } from '../fragments/presence.lua.ts'
import { tell } from '../fragments/tell.lua.ts'

/** ARGV: leaseMs, JSON of what the node says of itself. Answers with [generations of the dead, generations of those that have left]. */
export const beatScript: Script = numberedScript(`${tell}${presence}${members}
advance()
local lease, time = tonumber(ARGV[3]), now()
hear(P, time, lease)
redis.call('ZADD', P .. 'hb', text(time), G)
redis.call('HSET', P .. 'nodes', G, ARGV[4])
local dead, left = {}, redis.call('SRANDMEMBER', P .. 'left', 100)
for _, generation in ipairs(redis.call('ZRANGEBYSCORE', P .. 'hb', '-inf', '(' .. text(time - lease), 'LIMIT', 0, 100)) do
  local has_left = redis.call('SISMEMBER', P .. 'left', generation) == 1
  if generation ~= G and not has_left and is_dead(P, generation, time, lease) then dead[#dead + 1] = generation end
end
return { dead, left }
`)
