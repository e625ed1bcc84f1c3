import type { AuthenticateRequest, AuthenticateResult, AuthorizeResult, Hooks, MaybePromise, Plugin } from '../../lib/index.ts'
import { appliesTo, isConditional, isFor } from './condition.ts'
import { HookLists } from './hook-lists.ts'
import { combination, type Combination } from './members.ts'
import { isThenable } from './thenable.ts'

/**
 * One plugin that allows is enough, for `authenticate` and for each `authorize…`. Only plugins that have the hook are asked, in order; of one
 * plugin, all hooks of that name must allow. A plugin that `when` has for other connections is not asked. A plugin that fails counts as one that refuses. When none allows, the first refusal is the answer,
 * and to `authenticate` "not mine" when there is none. All other hooks are those of the plugins, in order.
 */
export function anyOf<Data = unknown> (...plugins: readonly Plugin<Data>[]): Combination<Data> {
  const lists = new HookLists<Data>({
    authorizeConnection: branches => among(branches, allowedAtOnce),
    authenticate: branches => request => authenticateByAny(branches.flat(), request),
    authorizePublish: branches => among(branches, authorizeByAny),
    authorizeSubscribe: branches => among(branches, authorizeByAny),
    authorizeTopic: branches => among(branches, allowedOrFailed),
    authorizeDeliver: branches => among(branches, allowedAtOnce),
  })
  return combination(`anyOf(${plugins.map(({ name }) => name).join(', ')})`, plugins, (broker, member, hooks) => lists.register(broker, member, hooks))
}

type Authenticate<Data> = NonNullable<Hooks<Data>['authenticate']>
type Authorize<Request> = (request: Request) => MaybePromise<AuthorizeResult>

/** By plugin. */
type Branches<Hook> = readonly (readonly Hook[])[]

/**
 * Asks those hooks that are for a request: what another connection's plugin answers must open nothing. Where none is, the combination is not there
 * either, which allows.
 */
function among<Request, Answer> (branches: Branches<(request: Request) => Answer>, ask: (branches: Branches<(request: Request) => Answer>, request: Request) => Answer): (request: Request) => Answer | true {
  const all = branches.flat()
  if (!all.some(isConditional)) return request => ask(branches, request)
  const hook = (request: Request): Answer | true => {
    const present = branches.map(hooks => hooks.filter(hook => isFor(hook, request))).filter(hooks => hooks.length > 0)
    return present.length === 0 ? true : ask(present, request)
  }
  return all.every(isConditional) ? Object.assign(hook, { [appliesTo]: (request: Request) => all.some(hook => isFor(hook, request)) }) : hook
}

/** Not for promises: they come too late to be asked about. */
function allowedAtOnce<Request> (branches: Branches<(request: Request) => boolean>, request: Request): boolean {
  return branches.some(hooks => hooks.every(hook => failingIs(false, () => hook(request)) === true))
}

/** The same of what is remembered, which a refusal must not be that another answer could have prevented: then it fails. */
function allowedOrFailed<Request> (branches: Branches<(request: Request) => boolean>, request: Request): boolean {
  const failures: unknown[] = []
  const noted = (hook: (request: Request) => boolean) => (asked: Request): boolean => {
    try {
      return hook(asked)
    } catch (error) {
      failures.push(error)
      return false
    }
  }
  if (allowedAtOnce(branches.map(hooks => hooks.map(noted)), request)) return true
  if (failures.length > 0) throw failures[0]
  return false
}

function authenticateByAny<Data> (hooks: readonly Authenticate<Data>[], request: AuthenticateRequest, so?: AuthenticateResult<Data>, from = 0): MaybePromise<AuthenticateResult<Data>> {
  let refusal = so
  for (let i = from; i < hooks.length; i++) {
    const answer = failingIs<AuthenticateResult<Data>>(false, () => hooks[i]?.(request))
    if (answer instanceof Promise) return answer.then(late => letsIn(late) ? late : authenticateByAny(hooks, request, refusal ?? late, i + 1))
    if (letsIn(answer)) return answer
    refusal ??= answer
  }
  return refusal
}

function letsIn (answer: AuthenticateResult): boolean {
  return answer === true || (typeof answer === 'object' && answer.allow)
}

/** The first branch of which all hooks allow; else what the first of them said. */
function authorizeByAny<Request> (branches: Branches<Authorize<Request>>, request: Request, so?: AuthorizeResult, from = 0): MaybePromise<AuthorizeResult> {
  let refusal = so
  for (let i = from; i < branches.length; i++) {
    const answer = authorizeByAll(branches[i] ?? [], request)
    if (answer instanceof Promise) return answer.then(late => allows(late) ? late : authorizeByAny(branches, request, refusal ?? late, i + 1))
    if (allows(answer)) return answer
    refusal ??= answer
  }
  return refusal ?? false
}

function authorizeByAll<Request> (hooks: readonly Authorize<Request>[], request: Request, from = 0): MaybePromise<AuthorizeResult> {
  for (let i = from; i < hooks.length; i++) {
    const answer = failingIs(false, () => hooks[i]?.(request) ?? false)
    if (answer instanceof Promise) return answer.then(late => allows(late) ? authorizeByAll(hooks, request, i + 1) : late)
    if (!allows(answer)) return answer
  }
  return true
}

/** `true`, or Success. */
function allows (answer: AuthorizeResult): boolean { return answer === true || answer === 0 }

/** An answer, or what stands for it when it cannot be had. */
function failingIs<T> (failure: T, ask: () => MaybePromise<T>): MaybePromise<T> {
  try {
    const answer = ask()
    return isThenable(answer) ? Promise.resolve(answer).catch(() => failure) : answer
  } catch {
    return failure
  }
}
