import { numberedScript, type Script } from '../link/script.ts'
import { members } from '../fragments/members.lua.ts'
import { presence } from '../fragments/presence.lua.ts'
import { sessionState } from '../fragments/session.lua.ts'
import { take } from '../fragments/take.lua.ts'
import { tell } from '../fragments/tell.lua.ts'

/** Topic Filters of the Sessions of a page, about: more of them end it. */
const pageFilters = 2_000

/**
 * ARGV: generation, leaseMs, most Sessions, what the node has read of inboxes, 1 if the answer is to be bounded. Takes a page of a dead node's Sessions; those that
 * are not stored are gone.
 *
 * Answers with [log end, 'none'] when another node is at it; with [log end, 'read', stretches]; or with
 * [log end, 'page', 1 if that was the last one, frames, last origin in the own inbox, when it was last heard of, for each Session: number, what it is, stretches].
 * The page is kept until the next one, for when it is asked for again: with that origin, since what came into the inbox later is for these Sessions, too.
 */
export const adoptScript: Script = numberedScript(`${sessionState}${tell}${presence}${take}${members}
local dead, lease, most, read, is_bounded = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7] == '1'
local heard = redis.call('ZSCORE', P .. 'hb', dead) or ''

local function reply (...) return { text(counter(P, 'n', 'log')), ... } end

local function page (numbers, is_last, origin)
  local sessions, all = {}, {}
  for _, number in ipairs(numbers) do
    local fields = redis.call('HMGET', P .. 's:' .. number, 'o', 'm')
    if fields[1] == G then
      sessions[#sessions + 1], sessions[#sessions + 2], sessions[#sessions + 3] = number, session_state(P, number), fields[2] or ''
      all[#all + 1] = fields[2] or nil
    end
  end
  return reply('page', is_last, frames_of(P, table.concat(all, ';'), read, false), origin, heard, unpack(sessions))
end

if repeated then
  local call, is_last, origin, list = (redis.call('HGET', P .. 'page', dead) or ''):match('^(%d+ %d+) (%d) (%d+) (.*)$')
  local numbers = {}
  if call ~= G .. ' ' .. ARGV[2] then return reply('none') end
  for number in list:gmatch('%d+') do numbers[#numbers + 1] = number end
  return page(numbers, is_last, origin)
end

advance()
if not may_clear(P, G, dead, lease) then return reply('none') end
local numbers, stretches = redis.call('SRANDMEMBER', P .. 'own:' .. dead, most), {}
for i, number in ipairs(numbers) do
  if redis.call('HEXISTS', P .. 's:' .. number, 'r') == 1 then stretches[i] = stretches_of(P, number, dead) else stretches[i] = '' end
end
if not frames_of(P, table.concat(stretches, ';'), read, is_bounded) then return reply('read', table.concat(stretches, ';')) end
local taken, told, seen, moves = {}, {}, {}, 0
for i, number in ipairs(numbers) do
  if #told > ${2 * pageFilters} then break end
  if redis.call('HEXISTS', P .. 's:' .. number, 'r') == 1 then
    take(P, G, ARGV[2], number, dead, stretches[i])
    if want(P, G, number, told, seen) then moves = moves + 1 end
    taken[#taken + 1] = number
  else
    set_offline(P, dead, redis.call('HGET', P .. 's:' .. number, 'c') or '')
    forget(P, number, dead)
  end
end
tell_moves(P, G, moves, told)
local is_last = redis.call('EXISTS', P .. 'own:' .. dead) == 0 and '1' or '0'
if is_last == '1' then want_nothing(P, dead) end
local origin = inbox_end(P, G)
redis.call('HSET', P .. 'page', dead, G .. ' ' .. ARGV[2] .. ' ' .. is_last .. ' ' .. origin .. ' ' .. table.concat(taken, ' '))
return page(taken, is_last, origin)
`)
