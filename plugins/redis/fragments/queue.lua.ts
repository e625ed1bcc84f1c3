/**
 * Lua functions that know what a stored delivery looks like (store/records.ts) and how a queue lies in its hash.
 *
 * `queue_state(P, n)`: first, end, bytes and total of a Session's queue, as in `QueueState`. The ends are noted in the Session, and gaps beside them
 * are stepped over; only where there are very many of them are all positions looked at. Whoever asks gives the positions after the end anew, so nothing may be
 * said of them any more.
 */
export const queue: string = `
local text = function (position) return string.format('%.0f', position) end
local total_of = function (packed) return (struct.unpack('>I6', packed, 2)) end
local size_of = function (packed) return (struct.unpack('>I4', packed, 8)) end
local reference_of = function (packed)
  if math.floor(packed:byte(1) / 8) % 2 == 1 then return nil end
  return text((struct.unpack('>I6', packed, 12)))
end

-- The position nearest to "from" in one direction; "skipped" is a hash of positions that do not count.
local function nearest (queue, from, step, skipped)
  for position = from, from + 200 * step, step do
    local name = text(position)
    if redis.call('HEXISTS', queue, name) == 1 and not (skipped and redis.call('HEXISTS', skipped, name) == 1) then return position end
  end
  local found
  for _, name in ipairs(redis.call('HKEYS', queue)) do
    local position = tonumber(name)
    local is_nearer = (position - from) * step >= 0 and (not found or (found - position) * step > 0)
    if is_nearer and not (skipped and redis.call('HEXISTS', skipped, name) == 1) then found = position end
  end
  return found
end

local function queue_state (P, n)
  local queue, sent = P .. 'q:' .. n, P .. 'i:' .. n
  local count = redis.call('HLEN', queue)
  if count == 0 then
    redis.call('HDEL', P .. 's:' .. n, 'x')
    return 0, 0, 0, 0
  end
  local ends = redis.call('HMGET', P .. 's:' .. n, 'e', 'x')
  local last = nearest(queue, tonumber(ends[1]) - 1, -1)
  local sent_end = tonumber(ends[2] or '0')
  if sent_end > last + 1 then
    redis.call('HDEL', P .. 's:' .. n, 'x')
    sent_end = last + 1
  end
  local total = total_of(redis.call('HGET', queue, text(last)))
  local first = count > redis.call('HLEN', sent) and nearest(queue, sent_end, 1, sent)
  if not first then return last + 1, last + 1, 0, total end
  local packed = redis.call('HGET', queue, text(first))
  return first, last + 1, total - total_of(packed) + size_of(packed), total
end
`
