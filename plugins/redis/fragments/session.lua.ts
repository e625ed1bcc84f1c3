import { queue } from './queue.lua.ts'

/** `session_state(P, n)`: what `decodeSession` makes a Session of; only of one that is stored. */
export const sessionState: string = `${queue}
local function session_state (P, n)
  local first, ending, bytes, total = queue_state(P, n)
  local record = redis.call('HGET', P .. 's:' .. n, 'r')
  return { n, record, text(first), text(ending), text(bytes), text(total), redis.call('HGETALL', P .. 'f:' .. n) }
end
`
