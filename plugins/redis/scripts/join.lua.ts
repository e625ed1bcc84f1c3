import { newScript, type Script } from '../link/script.ts'
import { members } from '../fragments/members.lua.ts'
import { presence } from '../fragments/presence.lua.ts'
import { tell } from '../fragments/tell.lua.ts'

/**
 * ARGV: protocol, leaseMs, description (JSON of an object). Answers with [generation, log end, moves, time], or with ['protocol' or 'leaseMs', what the others have].
 * What others have agreed on holds while one of them lives.
 */
export const joinScript: Script = newScript(`${tell}${presence}${members}
local P = KEYS[1]
local lease, time = tonumber(ARGV[2]), now()
local is_first = true
for _, generation in ipairs(redis.call('HKEYS', P .. 'last')) do
  if generation ~= '0' and not is_dead(P, generation, time, lease) then is_first = false end
end
local protocol, agreed = counter(P, 'v', 'protocol'), redis.call('HGET', P .. 'v', 'leaseMs')
if protocol > tonumber(ARGV[1]) or protocol < tonumber(ARGV[1]) and not is_first then return { 'protocol', text(protocol) } end
if agreed and agreed ~= ARGV[2] and not is_first then return { 'leaseMs', agreed } end
redis.call('HSET', P .. 'v', 'protocol', ARGV[1], 'leaseMs', ARGV[2])
local generation = text(redis.call('HINCRBY', P .. 'n', 'gen', 1))
redis.call('HSET', P .. 'nodes', generation, '{"joinedAt":' .. text(time) .. ',' .. ARGV[3]:sub(2))
redis.call('HSET', P .. 'last', generation, '0')
redis.call('ZADD', P .. 'hb', text(time), generation)
hear(P, time, lease)
tell(P, 'k', 'joined', 'g', generation, 'd', ARGV[3])
return { generation, redis.call('HGET', P .. 'n', 'log'), text(counter(P, 'n', 'moves')), text(time) }
`)
