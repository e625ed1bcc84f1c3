import { numberedScript, type Script } from '../link/script.ts'
import { members } from '../fragments/members.lua.ts'
import { presence } from '../fragments/presence.lua.ts'
import { tell } from '../fragments/tell.lua.ts'

/** ARGV: generation, leaseMs. Does nothing while another node is at it, or while there are Sessions to adopt. Answers with 1 when it has to be called again. */
export const buryScript: Script = numberedScript(`${tell}${presence}${members}
advance()
local generation, lease = ARGV[3], tonumber(ARGV[4])
local may = may_clear(P, G, generation, lease) and redis.call('EXISTS', P .. 'own:' .. generation) == 0
return may and not bury(P, generation) and 1 or 0
`)

/** ARGV: generation, leaseMs. Answers with 1 if what that node has left is this one's to clear away, and with the position up to which its inbox is settled. */
export const clearScript: Script = numberedScript(`${tell}${presence}${members}
advance()
return { may_clear(P, G, ARGV[3], tonumber(ARGV[4])) and 1 or 0, text(counter(P, 'cur', ARGV[3])) }
`)
