import { optionInvalid, type Allow, type AuthenticateRequest, type AuthenticateResult, type Hooks, type MaybePromise, type Plugin } from '../../lib/index.ts'
import { HookLists } from './hook-lists.ts'
import { combination, type Combination } from './members.ts'
import { isThenable } from './thenable.ts'

/**
 * Lets a Client in when every one of the plugins does that has `authenticate`: a certificate and a password, say. The first that refuses decides; as
 * soon as one says "not mine", the next plugin of the broker is asked. What they say of the Client is put together: of claims and data with one
 * name the later one's count, the earliest `expiresAt` does, and two that say different names refuse. All other hooks are those of the plugins, in order.
 *
 * @throws MqttError `MQTT_OPTION_INVALID` for a plugin with authentication methods: such a method decides alone, past the others
 */
export function allOf<Data = unknown> (...plugins: readonly Plugin<Data>[]): Combination<Data> {
  const withMethods = plugins.find(({ authenticationMethods = [] }) => authenticationMethods.length > 0)
  if (withMethods !== undefined) throw optionInvalid('plugins', 'plugins without authentication methods, which decide alone', withMethods.name)
  const lists = new HookLists<Data>({ authenticate: hooks => request => authenticateByAll(hooks.flat(), request) })
  return combination(`allOf(${plugins.map(({ name }) => name).join(', ')})`, plugins, (broker, member, hooks) => lists.register(broker, member, hooks))
}

type Authenticate<Data> = NonNullable<Hooks<Data>['authenticate']>

function authenticateByAll<Data> (hooks: readonly Authenticate<Data>[], request: AuthenticateRequest, so: Allow<Data> = { allow: true }, from = 0): MaybePromise<AuthenticateResult<Data>> {
  let sum = so
  for (let i = from; i < hooks.length; i++) {
    const answer = hooks[i]?.(request)
    if (isThenable(answer)) return Promise.resolve<AuthenticateResult<Data>>(answer).then(late => goOn(add(sum, late), next => authenticateByAll(hooks, request, next, i + 1)))
    const next = add(sum, answer as AuthenticateResult<Data>)
    if (!isAllow(next)) return next
    sum = next
  }
  return sum
}

function goOn<Data> (result: AuthenticateResult<Data>, next: (sum: Allow<Data>) => MaybePromise<AuthenticateResult<Data>>): MaybePromise<AuthenticateResult<Data>> {
  return isAllow(result) ? next(result) : result
}

function isAllow<Data> (result: AuthenticateResult<Data>): result is Allow<Data> {
  return typeof result === 'object' && result.allow
}

/** What all have said until now with what one more says: its own answer when that does not let the Client in. */
function add<Data> (sum: Allow<Data>, answer: AuthenticateResult<Data>): AuthenticateResult<Data> {
  if (answer === true) return sum
  if (!isAllow(answer)) return answer
  if (differ(sum.username, answer.username) || differ(sum.clientIdentifier, answer.clientIdentifier)) return false
  const expiresAt = Math.min(sum.expiresAt ?? Infinity, answer.expiresAt ?? Infinity)
  return { ...sum, ...answer, ...hasClaims(sum, answer) && { claims: { ...sum.claims, ...answer.claims } }, ...expiresAt < Infinity && { expiresAt } }
}

function differ (a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && a !== b
}

function hasClaims (...answers: readonly Allow[]): boolean { return answers.some(({ claims }) => claims !== undefined) }
