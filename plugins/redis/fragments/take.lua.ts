/** Filters in one entry of the log. */
const pageFilters = 1_000
/** What a script answers with of inboxes; when there is more, its node reads it first and asks again. */
const mostFrames = 256
const mostBytes = 4 * 1024 * 1024

/**
 * Lua functions of those scripts that make Sessions a node's own; they come after `tell`.
 *
 * What the former owner's inbox still has for a Session is a stretch, `generation,position,skip,last`: from that position on, without
 * the first \`skip\` messages there, to the last position. Those of a Session are its field \`m\`, with semicolons between them; \`hold:\` keeps them there until a
 * commit says that they are in the queue.
 */
export const take: string = `
-- the origin that all messages of a node's inbox are up to
local function inbox_end (P, generation) return text(counter(P, 'inp', generation) * frame + frame - 1) end

-- what of inboxes a Session may need when it leaves its owner
local function stretches_of (P, number, owner)
  local before = redis.call('HGET', P .. 's:' .. number, 'm')
  local last = counter(P, 'inp', owner)
  local position, skip = counter(P, 'cur', owner) + 1, 0
  local next = counter(P, 's:' .. number, 'h') + 1
  if math.floor(next / frame) >= position then position, skip = math.floor(next / frame), next % frame end
  if position > last then return before or '' end
  return (before and before .. ';' or '') .. owner .. ',' .. text(position) .. ',' .. text(skip) .. ',' .. text(last)
end

-- what is in those stretches beyond what the node has read, as generation, id and bytes in turns; nil when it is too much
local function frames_of (P, stretches, read, is_bounded)
  local first, last, frames, bytes = {}, {}, {}, 0
  for generation, from, to in stretches:gmatch('(%d+),(%d+),%d+,(%d+)') do
    first[generation] = math.min(first[generation] or math.huge, tonumber(from))
    last[generation] = math.max(last[generation] or 0, tonumber(to))
  end
  for generation, from, to in read:gmatch('(%d+),(%d+),(%d+)') do
    local known = first[generation] and first[generation] >= tonumber(from)
    if known then first[generation] = math.max(first[generation], tonumber(to) + 1) end
  end
  for generation, from in pairs(first) do
    while from <= last[generation] do
      local page = redis.call('XRANGE', P .. 'in:' .. generation, text(from) .. '-0', text(last[generation]) .. '-0', 'COUNT', 16)
      if #page == 0 then break end
      for _, entry in ipairs(page) do
        if entry[2][1] == 'f' then
          frames[#frames + 1], frames[#frames + 2], frames[#frames + 3] = generation, entry[1], entry[2][2]
          bytes = bytes + #entry[2][2]
        end
      end
      if is_bounded and (#frames > ${3 * mostFrames} or bytes > ${mostBytes}) then return nil end
      from = tonumber(page[#page][1]:match('^%d+')) + 1
    end
  end
  return frames
end

-- a Session that is not stored and nobody needs any more
local function forget (P, number, owner)
  local client = redis.call('HGET', P .. 's:' .. number, 'c')
  if client and redis.call('GET', P .. 'c:' .. client) == number then redis.call('DEL', P .. 'c:' .. client) end
  redis.call('SREM', P .. 'own:' .. owner, number)
  redis.call('DEL', P .. 's:' .. number)
end

-- makes a stored Session this node's own by the call N
local function take (P, G, N, number, owner, stretches)
  local key = P .. 's:' .. number
  for generation, position in stretches:gmatch('(%d+),(%d+),%d+,%d+') do
    redis.call('ZADD', P .. 'hold:' .. generation, 'NX', position, number)
  end
  if stretches ~= '' then redis.call('HSET', key, 'm', stretches) end
  redis.call('HSET', key, 'o', G, 'h', inbox_end(P, G), 'k', N)
  redis.call('SREM', P .. 'own:' .. owner, number)
  redis.call('SADD', P .. 'own:' .. G, number)
end

-- adds the Topic Filters of a Session to those that a node wants, and into told what it wants then; whether there are any
local function want (P, G, number, told, seen)
  local filters = redis.call('HKEYS', P .. 'f:' .. number)
  for _, filter in ipairs(filters) do
    if not seen[filter] then
      redis.call('HSETNX', P .. 'w:' .. G, filter, '0')
      told[#told + 1], told[#told + 2] = filter, redis.call('HGET', P .. 'w:' .. G, filter)
      seen[filter] = true
    end
  end
  return #filters > 0
end

local function tell_moves (P, G, count, told)
  if count == 0 then return end
  local moves = text(redis.call('HINCRBY', P .. 'n', 'moves', count))
  for first = 1, math.max(#told, 1), ${2 * pageFilters} do
    tell(P, 'k', 'routes', 'g', G, 'm', moves, unpack(told, first, math.min(first + ${2 * pageFilters - 1}, #told)))
  end
end

-- nobody sends that node anything any more: whoever has decided to, and does not know of this, is refused, and decides anew
local function want_nothing (P, generation)
  local told = {}
  for _, filter in ipairs(redis.call('HKEYS', P .. 'w:' .. generation)) do told[#told + 1], told[#told + 2] = filter, '' end
  redis.call('UNLINK', P .. 'w:' .. generation)
  tell_moves(P, generation, 1, told)
end
`
