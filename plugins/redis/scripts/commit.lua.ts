import { logLength } from '../link/layout.ts'
import { numberedScript, type Script } from '../link/script.ts'
import { holds } from '../fragments/holds.lua.ts'
import { presence } from '../fragments/presence.lua.ts'
import { queue } from '../fragments/queue.lua.ts'

/**
 * One commit: all of it, or nothing. The arguments are made by store/commit.ts: first what may refuse it, then the writes in their order; most of these are
 * commands of Redis, those with names of their own need to look at something first.
 *
 * The answer is `ok`, `full` or `refused`, the end of the log, and in one text: for `ok` generations and the bytes that wait in their inboxes, in turns; for `refused` the moves and the Sessions
 * that are fenced. An answer that nothing was written is kept, since it may be asked
 * for again when later calls have been executed.
 */
export const commitScript: Script = numberedScript(`${holds}${queue}${presence}
local at, count = 3, #ARGV
local function take ()
  at = at + 1
  return ARGV[at - 1]
end

local function answer (status, detail)
  return { status, tonumber(redis.call('HGET', P .. 'n', 'log') or '0'), detail }
end

if repeated then
  local number, status, detail = (redis.call('HGET', P .. 'refused', G) or ''):match('^(%d+) (%l+) (.*)$')
  if number == ARGV[2] then return answer(status, detail) end
  return answer('ok', '')
end

-- A script that has written something is not refused for want of memory any more; removing never is.
local function keep_answer (status, detail)
  redis.call('HDEL', P .. 'refused', G)
  advance()
  redis.call('HSET', P .. 'refused', G, ARGV[2] .. ' ' .. status .. ' ' .. detail)
  return answer(status, detail)
end

local is_growing, known_moves, begun, marks, fenced = take(), take(), {}, {}, {}

for i = 1, tonumber(take()) do
  local number, client = take(), take()
  local present = redis.call('GET', P .. 'c:' .. client)
  local owner = present and present ~= number and redis.call('HGET', P .. 's:' .. present, 'o')
  if owner and owner ~= G then fenced[#fenced + 1] = number end
  begun[number] = client
end

for i = 1, tonumber(take()) do
  local number = take()
  local session = redis.call('HMGET', P .. 's:' .. number, 'o', 'h')
  if session[1] ~= G and not begun[number] and (session[1] or G ~= '0') then fenced[#fenced + 1] = number end
  marks[number] = tonumber(session[2] or '0')
end

-- who has published: one command for many, since most of them are nowhere else in a commit
for left = tonumber(take()), 1, -1000 do
  local first, last = at, at + math.min(left, 1000) - 1
  local is_own = redis.call('SMISMEMBER', P .. 'own:' .. G, unpack(ARGV, first, last))
  at = last + 1
  for i = first, last do
    if is_own[i - first + 1] == 0 and not begun[ARGV[i]] and not marks[ARGV[i]] then fenced[#fenced + 1] = ARGV[i] end
  end
end

local moves = redis.call('HGET', P .. 'n', 'moves') or '0'
if #fenced > 0 or (known_moves ~= '' and tonumber(moves) > tonumber(known_moves)) then
  return keep_answer('refused', moves .. ' ' .. table.concat(fenced, ' '))
end

if is_growing == '1' then
  local written = redis.pcall('HSET', P .. 'last', G, ARGV[2])
  if type(written) == 'table' and written.err then
    if written.err:find('OOM', 1, true) then return keep_answer('full', '') end
    return written
  end
else
  redis.call('HDEL', P .. 'refused', G)
  advance()
end

local function log (kind, ...)
  local position = redis.call('HINCRBY', P .. 'n', 'log', 1)
  redis.call('XADD', P .. 'lg', 'MAXLEN', ${logLength}, text(position) .. '-0', 'k', kind, 'g', G, ...)
end

local released, backlogs = {}, {}

-- Of a body that is needed so many times less.
local function release_body (reference)
  if reference then released[reference] = (released[reference] or 0) + 1 end
end

local function free_client (client, number)
  if redis.call('GET', P .. 'c:' .. client) == number then redis.call('DEL', P .. 'c:' .. client) end
end

local writes = {}

function writes.begin ()
  local number = take()
  local client = begun[number]
  -- what is in the inbox already was sent before it began
  marks[number] = tonumber(redis.call('HGET', P .. 'inp', G) or '0') * 65536 + 65535
  redis.call('HSET', P .. 's:' .. number, 'c', client, 'o', G, 'h', text(marks[number]))
  redis.call('SADD', P .. 'own:' .. G, number)
  redis.call('SET', P .. 'c:' .. client, number)
end

function writes.release ()
  local number, client = take(), take()
  local session = redis.call('HMGET', P .. 's:' .. number, 'o', 'r')
  if session[1] ~= G then return end
  free_client(client, number)
  if session[2] then
    redis.call('HSET', P .. 's:' .. number, 'd', '1')
  else
    release_holds(P, number)
    redis.call('DEL', P .. 's:' .. number)
    redis.call('SREM', P .. 'own:' .. G, number)
  end
end

function writes.put ()
  local number, client, record, has_ended = take(), take(), take(), take()
  redis.call('HSET', P .. 's:' .. number, 'r', record)
  if has_ended == '1' then redis.call('HSET', P .. 's:' .. number, 'd', '1') end
  if G == '0' then
    redis.call('HSET', P .. 's:' .. number, 'c', client, 'o', G)
    redis.call('SADD', P .. 'own:' .. G, number)
    if has_ended == '0' then redis.call('SET', P .. 'c:' .. client, number) end
  end
end

-- Where the queue ends, what was sent of it, and the place in the inbox that it has come to.
function writes.reach ()
  local number, ending, sent, mark = take(), take(), take(), take()
  local fields = {}
  if ending ~= '' then fields[1], fields[2] = 'e', ending end
  if sent ~= '' then fields[#fields + 1], fields[#fields + 2] = 'x', sent end
  if mark ~= '' and tonumber(mark) > marks[number] then fields[#fields + 1], fields[#fields + 2] = 'h', mark end
  if #fields > 0 then redis.call('HSET', P .. 's:' .. number, unpack(fields)) end
end

function writes.remove ()
  local number, positions = take(), tonumber(take())
  redis.call('HDEL', P .. 'q:' .. number, unpack(ARGV, at, at + positions - 1))
  redis.call('HDEL', P .. 'i:' .. number, unpack(ARGV, at, at + positions - 1))
  at = at + positions
end

function writes.unshare ()
  local number, position, reference = take(), take(), take()
  if reference == '' then
    local packed = redis.call('HGET', P .. 'q:' .. number, position)
    reference = packed and reference_of(packed)
  end
  if redis.call('HDEL', P .. 'q:' .. number, position) == 1 then release_body(reference) end
  redis.call('HDEL', P .. 'i:' .. number, position)
end

writes['end'] = function ()
  local number = take()
  local client = redis.call('HGET', P .. 's:' .. number, 'c')
  if client then free_client(client, number) end
  for _, packed in ipairs(redis.call('HVALS', P .. 'q:' .. number)) do release_body(reference_of(packed)) end
  release_holds(P, number)
  redis.call('UNLINK', P .. 's:' .. number, P .. 'f:' .. number, P .. 'q:' .. number, P .. 'i:' .. number, P .. 'r:' .. number)
  redis.call('SREM', P .. 'own:' .. G, number)
end

function writes.retain ()
  local bucket, topic, bytes, expires = take(), take(), take(), take()
  redis.call('HSET', P .. 'ret:' .. bucket, topic, bytes)
  if expires == '' then redis.call('HDEL', P .. 'rx:' .. bucket, topic) else redis.call('HSET', P .. 'rx:' .. bucket, topic, expires) end
  if G ~= '0' then log('retained', 't', topic) end
end

function writes.unretain ()
  local bucket, topic = take(), take()
  redis.call('HDEL', P .. 'rx:' .. bucket, topic)
  redis.call('HDEL', P .. 'ret:' .. bucket, topic)
  if G ~= '0' then log('retained', 't', topic) end
end

function writes.expire ()
  local bucket, topic, expires = take(), take(), take()
  if redis.call('HGET', P .. 'rx:' .. bucket, topic) ~= expires then return end
  redis.call('HDEL', P .. 'rx:' .. bucket, topic)
  redis.call('HDEL', P .. 'ret:' .. bucket, topic)
  log('retained', 't', topic)
end

function writes.routes ()
  local fields, key = tonumber(take()), P .. 'w:' .. G
  local first = at
  at = at + fields
  for i = first, at - 1, 2 do
    if ARGV[i + 1] == '' then redis.call('HDEL', key, ARGV[i]) else redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
  end
  log('routes', 'm', moves, unpack(ARGV, first, at - 1))
end

-- Each entry says how many bytes the inbox has got up to it, so that it is known how many are not settled.
function writes.send ()
  local generation, bytes = take(), take()
  if redis.call('HEXISTS', P .. 'nodes', generation) == 0 then
    backlogs[generation] = 0
    return
  end
  local position = redis.call('HINCRBY', P .. 'inp', generation, 1)
  backlogs[generation] = redis.call('HINCRBY', P .. 'inb', generation, #bytes)
  redis.call('XADD', P .. 'in:' .. generation, text(position) .. '-0', 'f', bytes, 't', text(backlogs[generation]))
end

-- Entries that are not frames have no number of bytes. They are few, and frames are large, so one is read at a time.
local function settle_bytes (from, position)
  while position >= from do
    local entry = redis.call('XREVRANGE', P .. 'in:' .. G, text(position) .. '-0', text(from) .. '-0', 'COUNT', 1)[1]
    if entry and entry[2][3] == 't' then return redis.call('HSET', P .. 'cub', G, entry[2][4]) end
    position = entry and tonumber(entry[1]:match('^%d+')) - 1 or 0
  end
end

function writes.take ()
  for i = 1, tonumber(take()) do
    local origin = take()
    redis.call('ZADD', P .. 'tk:' .. G, origin, origin)
  end
end

function writes.settle ()
  local position = take()
  local before = tonumber(redis.call('HGET', P .. 'cur', G) or '0')
  if tonumber(position) <= before then return end
  settle_bytes(before + 1, tonumber(position))
  redis.call('HSET', P .. 'cur', G, position)
  redis.call('ZREMRANGEBYSCORE', P .. 'tk:' .. G, '-inf', text(tonumber(position) * 65536 + 65535))
  trim_inbox(P, G)
end

-- of the inbox of another node, which is gone
function writes.hand ()
  local generation, position = take(), take()
  local is_there = redis.call('HEXISTS', P .. 'nodes', generation) == 1
  if is_there and tonumber(position) > tonumber(redis.call('HGET', P .. 'cur', generation) or '0') then redis.call('HSET', P .. 'cur', generation, position) end
end

function writes.recover () release_holds(P, take()) end

function writes.online () set_online(P, G, take()) end

function writes.offline () set_offline(P, G, take()) end

while at <= count do
  local name = take()
  if writes[name] then
    writes[name]()
  else
    local key, fields = P .. take(), tonumber(take())
    redis.call(name, key, unpack(ARGV, at, at + fields - 1))
    at = at + fields
  end
end

for reference, times in pairs(released) do
  if redis.call('HINCRBY', P .. 'b:' .. reference, 'c', -times) <= 0 then redis.call('DEL', P .. 'b:' .. reference) end
end
local waiting = {}
for generation, bytes in pairs(backlogs) do
  waiting[#waiting + 1] = generation
  waiting[#waiting + 1] = text(math.max(bytes - tonumber(redis.call('HGET', P .. 'cub', generation) or '0'), 0))
end
return answer('ok', table.concat(waiting, ' '))
`)
