import { logLength } from '../link/layout.ts'

/** Lua functions of all scripts that tell others something. */
export const tell: string = `
local frame = 65536

-- Lua's own conversion makes 1e+14 of large numbers
local function text (number) return string.format('%.0f', number) end

local function counter (P, key, field) return tonumber(redis.call('HGET', P .. key, field) or '0') end

local function tell (P, ...)
  return redis.call('XADD', P .. 'lg', 'MAXLEN', '=', ${logLength}, text(redis.call('HINCRBY', P .. 'n', 'log', 1)) .. '-0', ...)
end

local function send (P, generation, ...)
  return redis.call('XADD', P .. 'in:' .. generation, text(redis.call('HINCRBY', P .. 'inp', generation, 1)) .. '-0', ...)
end

local function is_alive (P, generation) return redis.call('HEXISTS', P .. 'last', generation) == 1 end
`
