import { messagesInFrame } from '../../../lib/index.ts'
import type { Claim, ClaimRequest, ImportedSession } from '../../../lib/index.ts'
import type { Argument } from '../link/link.ts'
import type { Pipe } from '../link/pipe.ts'
import { decodeSession } from '../store/reads.ts'
import { Remainders } from './remainders.ts'
import type { Script } from '../link/script.ts'
import { adoptScript } from '../scripts/adopt.lua.ts'
import { claimScript } from '../scripts/claim.lua.ts'

/** Sessions in a page that is adopted. */
const pageSessions = 100
/** How often inboxes are read beforehand; then a script answers with all that came meanwhile. */
const mostTries = 8

type SessionReply = Parameters<typeof decodeSession>[0]

/** Makes what others have this node's own. Everything that it does goes through the pipe, in order with the commits. */
export class Claims {
  readonly #pipe: Pipe
  readonly #leaseMs: number

  constructor (pipe: Pipe, leaseMs: number) {
    this.#pipe = pipe
    this.#leaseMs = leaseMs
  }

  claim ({ clientIdentifier, session, isPolite = false }: ClaimRequest): Promise<Claim> {
    const inboxes = new Remainders()
    return this.#ask(claimScript, inboxes, [clientIdentifier, session, isPolite ? '1' : '0'], ([kind, number, state, stretches, frames, origin, heardAt]) => {
      if (String(kind) === 'held') return { session, imported: undefined, heldBy: Number(number) }
      if (String(kind) === 'own') return { session: Number(number), imported: undefined }
      inboxes.add(String(stretches), frames as Buffer[])
      return { session: Number(number), imported: importedSession(inboxes, state, stretches, origin, heardAt) }
    })
  }

  /** @yields at least one page, unless another node is at it */
  async * adopt (generation: number): AsyncGenerator<readonly ImportedSession[]> {
    const inboxes = new Remainders()
    for (let isLast = false; !isLast;) {
      const [kind, last, frames, origin, heardAt, ...sessions] = await this.#ask(adoptScript, inboxes, [generation, this.#leaseMs, pageSessions], answer => answer)
      if (String(kind) === 'none') return
      isLast = String(last) === '1'
      inboxes.add(stretchesOf(sessions), frames as Buffer[])
      yield importedSessions(inboxes, sessions, origin, heardAt)
    }
  }

  /** Asks again as long as something has to be read first. It takes no more turns than a commit does, so that the order of answers is that of the pipe. */
  #ask<Result> (script: Script, inboxes: Remainders, args: readonly Argument[], decode: (answer: readonly unknown[]) => Result): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const ask = (tries: number): void => {
        this.#pipe.run(script, [...args, inboxes.text, tries > mostTries ? '0' : '1']).then(reply => {
          const [logEnd, ...answer] = reply as unknown[]
          this.#pipe.logEnd = Number(logEnd)
          if (String(answer[0]) !== 'read') resolve(decode(answer))
          else inboxes.read(this.#pipe.link, String(answer[1])).then(() => { ask(tries + 1) }, reject)
        }).catch(reject)
      }
      ask(1)
    })
  }
}

function stretchesOf (sessions: readonly unknown[]): string {
  return sessions.filter((text, i) => i % 3 === 2 && String(text) !== '').map(String).join(';')
}

function importedSessions (inboxes: Remainders, sessions: readonly unknown[], origin: unknown, heardAt: unknown): ImportedSession[] {
  const imported: ImportedSession[] = []
  for (let i = 0; i + 2 < sessions.length; i += 3) imported.push(importedSession(inboxes, sessions[i + 1], sessions[i + 2], origin, heardAt))
  return imported
}

function importedSession (inboxes: Remainders, state: unknown, stretches: unknown, origin: unknown, heardAt: unknown): ImportedSession {
  const heard = String(heardAt)
  return {
    ...decodeSession(state as SessionReply),
    remainder: inboxes.of(String(stretches)),
    since: Math.floor(Number(origin) / messagesInFrame),
    heardAt: heard === '' ? undefined : Number(heard),
  }
}
