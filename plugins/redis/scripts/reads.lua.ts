import { newScript, type Script } from '../link/script.ts'
import { queue } from '../fragments/queue.lua.ts'
import { sessionState } from '../fragments/session.lua.ts'

/** Deliveries for an answer: position, packed delivery, how far it was sent ('' for not), and its body if that stands by itself. */
const entries = `${queue}
local P, n = KEYS[1], ARGV[1]

local function push (page, position, packed)
  local reference = reference_of(packed)
  page[#page + 1] = text(position)
  page[#page + 1] = packed
  page[#page + 1] = redis.call('HGET', P .. 'i:' .. n, text(position)) or ''
  page[#page + 1] = reference and redis.call('HGET', P .. 'b:' .. reference, 'm') or ''
end
`

/**
 * A part of a page. ARGV: Session, position, messages, bytes. The answer begins with the position to go on from: after "full " if
 * the bytes were used up, '' at the end of the queue.
 */
export const fetchScript: Script = newScript(`${entries}
local position, most, bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local queue, page, misses = P .. 'q:' .. n, { '' }, 0
local ending = redis.call('EXISTS', queue) == 1 and tonumber(redis.call('HGET', P .. 's:' .. n, 'e')) or 0
local span = math.min(most, 128)
local looked = 0
while position < ending and looked < 1024 do
  local names = {}
  for p = position, math.min(position + span, ending) - 1 do names[#names + 1] = text(p) end
  local found, is_empty = redis.call('HMGET', queue, unpack(names)), true
  for i = 1, #names do
    if found[i] then
      is_empty = false
      bytes = bytes - size_of(found[i])
      if bytes < 0 and #page > 1 then
        page[1] = 'full ' .. names[i]
        return page
      end
      push(page, position + i - 1, found[i])
      most = most - 1
      if most == 0 then
        page[1] = text(position + i)
        return page
      end
    end
  end
  looked = looked + #names
  position = position + #names
  if is_empty and looked >= 256 then position = nearest(queue, position, 1) or ending end
end
if position < ending then page[1] = text(position) end
return page
`)

/**
 * What a Client that comes back has to go on with. ARGV: Session, position. The answer: the position to go on from, or '', the Packet Identifiers of received
 * messages, then deliveries in flight.
 */
export const claimScript: Script = newScript(`${entries}
local from, positions, page = tonumber(ARGV[2]), {}, { '', redis.call('SMEMBERS', P .. 'r:' .. n) }
for _, name in ipairs(redis.call('HKEYS', P .. 'i:' .. n)) do
  if tonumber(name) >= from then positions[#positions + 1] = tonumber(name) end
end
table.sort(positions)
local bytes = 0
for i, position in ipairs(positions) do
  local packed = redis.call('HGET', P .. 'q:' .. n, text(position))
  if packed then
    bytes = bytes + size_of(packed)
    if i > 128 or (i > 1 and bytes > 1048576) then
      page[1] = text(position)
      return page
    end
    push(page, position, packed)
  end
end
return page
`)

/** Sessions by their numbers in ARGV, for `decodeSession`. Those without a record are left out. */
export const sessionsScript: Script = newScript(`${sessionState}
local P, sessions = KEYS[1], {}
for _, n in ipairs(ARGV) do
  if redis.call('HEXISTS', P .. 's:' .. n, 'r') == 1 then sessions[#sessions + 1] = session_state(P, n) end
end
return sessions
`)
