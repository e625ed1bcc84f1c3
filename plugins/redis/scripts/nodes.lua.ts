import { newScript, type Script } from '../link/script.ts'
import { members } from '../fragments/members.lua.ts'
import { presence } from '../fragments/presence.lua.ts'
import { tell } from '../fragments/tell.lua.ts'

/** ARGV: leaseMs. Answers with generation, JSON, when it was last heard of and 1 if it lives, for each node in turns. */
export const nodesScript: Script = newScript(`${tell}${presence}${members}
local P, lease, time, nodes = KEYS[1], tonumber(ARGV[1]), now(), {}
for _, generation in ipairs(redis.call('HKEYS', P .. 'nodes')) do
  nodes[#nodes + 1] = generation
  nodes[#nodes + 1] = redis.call('HGET', P .. 'nodes', generation)
  nodes[#nodes + 1] = redis.call('ZSCORE', P .. 'hb', generation) or '0'
  nodes[#nodes + 1] = is_dead(P, generation, time, lease) and '0' or '1'
end
return nodes
`)

/** ARGV: Client Identifier. Answers with the generation that has it, or null. */
export const ownerScript: Script = newScript(`
local P = KEYS[1]
local number = redis.call('GET', P .. 'c:' .. ARGV[1])
local session = number and redis.call('HMGET', P .. 's:' .. number, 'o', 'd') or {}
return not session[2] and session[1] or nil
`)

/** ARGV: Client Identifier. Answers with the generation at which it is online, or null. */
export const placeScript: Script = newScript(`
local P, client = KEYS[1], ARGV[1]
for _, generation in ipairs(redis.call('HKEYS', P .. 'nodes')) do
  if redis.call('SISMEMBER', P .. 'on:' .. generation, client) == 1 then return generation end
end
return nil
`)
