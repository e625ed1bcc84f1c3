import { numberedScript, type Script } from '../link/script.ts'
import { members } from '../fragments/members.lua.ts'
import { presence } from '../fragments/presence.lua.ts'
import { take } from '../fragments/take.lua.ts'
import { tell } from '../fragments/tell.lua.ts'

/** Who has nothing that others could go on with is gone at once. */
export const leaveScript: Script = numberedScript(`${tell}${presence}${take}${members}
redis.call('HDEL', P .. 'last', G)
redis.call('ZADD', P .. 'hb', text(now()), G)
local is_empty = redis.call('EXISTS', P .. 'own:' .. G) == 0 and counter(P, 'cur', G) >= counter(P, 'inp', G)
if is_empty then want_nothing(P, G) end
if not is_empty or not bury(P, G) then redis.call('SADD', P .. 'left', G) end
return 1
`)
