import { createHmac, randomBytes } from 'node:crypto'
import { Agent } from 'undici'
import { addressPrefix, silentLogger, systemClock, type Clock, type Logger } from '../../lib/index.ts'
import { answerOf, type Answer } from './answer.ts'
import { CircuitBreaker } from './circuit-breaker.ts'
import type { Settings } from './options.ts'

/** An answer; or why there is none: too many questions wait, or the service does not answer. */
export type Reply = Answer | 'busy' | 'unavailable'

interface Surroundings {
  readonly clock: Clock
  readonly logger: Logger
}

/** What becomes of a question before it is sent. */
const unreachable: ReadonlySet<unknown> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'])

/** Asks the service, a bounded number of questions at a time, each once, and none while it is out of order. */
export class AuthService {
  readonly #settings: Settings
  #surroundings: Surroundings = { clock: systemClock, logger: silentLogger }
  readonly #agent: Agent
  readonly #breaker: CircuitBreaker
  readonly #secret = randomBytes(32)
  /** Questions that are being asked, by their digest: who asks the same waits for the same answer. */
  readonly #asking = new Map<string, Promise<Reply>>()
  /** Counts up with each {@link renew}: an answer to what was asked before it is of no use to anybody else. */
  #generation = 0

  constructor (settings: Settings) {
    const { maximumConnections, maximumFailures, retryAfterMs, timeoutMs, tls } = settings
    this.#settings = settings
    // There is one deadline for all that a question takes. An agent of its own knows nothing of proxies, and follows no redirects.
    this.#agent = new Agent({ connections: maximumConnections, pipelining: 1, headersTimeout: 0, bodyTimeout: 0, connect: { ...tls, timeout: timeoutMs } })
    this.#breaker = new CircuitBreaker(maximumFailures, retryAfterMs, this)
  }

  /** Whose clock and logger it uses from now on. */
  open (surroundings: Surroundings): void { this.#surroundings = surroundings }

  get generation (): number { return this.#generation }

  /** From now on nobody shares the answer to a question that is being asked already. */
  renew (): void { this.#generation++ }

  /** A key for a question that says nothing of what is in it. */
  digest (question: string): string {
    return createHmac('sha256', this.#secret).update(question).digest('base64')
  }

  /** @param remoteAddress where who is asked about comes from: who asks, as far as failures are counted */
  ask (url: URL, question: string, remoteAddress = ''): Promise<Reply> {
    const key = this.digest(`${this.#generation} ${url.href} ${question}`)
    const asking = this.#asking.get(key)
    if (asking !== undefined) return asking
    const { maximumConnections, maximumWaiting } = this.#settings
    if (this.#asking.size >= maximumConnections + maximumWaiting) return Promise.resolve('busy')
    const asker = addressPrefix(remoteAddress) ?? remoteAddress
    if (!this.#breaker.admits(asker, this.#surroundings.clock)) return Promise.resolve('unavailable')
    const reply = this.#attempt(url, question, asker).finally(() => { this.#asking.delete(key) })
    this.#asking.set(key, reply)
    return reply
  }

  close (): Promise<void> { return this.#agent.destroy() }

  /** @internal The breaker has opened. */
  opened (): void {
    const { name, url, maximumFailures, retryAfterMs } = this.#settings
    this.#surroundings.logger.error({ plugin: name }, `${name}: ${url.origin} cannot be reached, or has not answered questions of ${maximumFailures} addresses in a row, and is left alone for ${retryAfterMs} ms`)
  }

  /** @internal The breaker has closed. */
  closed (): void {
    const { name, url } = this.#settings
    this.#surroundings.logger.info({ plugin: name }, `${name}: ${url.origin} answers again`)
  }

  async #attempt (url: URL, question: string, asker: string): Promise<Reply> {
    const { clock, logger } = this.#surroundings
    try {
      const answer = await this.#request(url, question)
      this.#breaker.succeeded(asker)
      return answer
    } catch (error) {
      const { name } = this.#settings
      const reason = error instanceof Error ? error.message : String(error)
      logger.warn({ plugin: name }, `${name}: no answer of ${url.origin}${url.pathname}: ${reason}`)
      this.#breaker.failed(asker, isUnreachable(error), clock)
      return 'unavailable'
    }
  }

  async #request ({ origin, pathname, search }: URL, body: string): Promise<Answer> {
    const { method, headers, timeoutMs, maximumAnswerSize, answer } = this.#settings
    const controller = new AbortController()
    const stop = this.#surroundings.clock.after(timeoutMs, () => { controller.abort(new Error(`it took longer than ${timeoutMs} ms`)) })
    try {
      const response = await this.#agent.request({ origin, path: pathname + search, method, headers: { ...headers, 'content-type': 'application/json' }, body, signal: controller.signal })
      return answerOf(response.statusCode, await textOf(response.body, maximumAnswerSize), answer)
    } finally {
      stop()
    }
  }
}

function isUnreachable (error: unknown): boolean {
  return error instanceof Error && 'code' in error && unreachable.has(error.code)
}

async function textOf (body: AsyncIterable<Buffer>, maximumSize: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) { // leaving the loop ends the connection
    size += chunk.length
    if (size > maximumSize) throw new Error(`its answer is over ${maximumSize} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
