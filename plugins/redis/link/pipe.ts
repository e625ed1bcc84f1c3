import type { MqttError } from '../../../lib/index.ts'
import { closed, describe, fenced, lastExecuted, remedyFor, withoutCommand } from './errors.ts'
import type { Argument, Link } from './link.ts'
import type { Script } from './script.ts'

/** What becomes of a pipe. */
export interface PipeWatcher {
  /** This generation may write no more; whatever waits has been rejected. Call `begin` with another one. */
  fenced (): void
  /** Told when it changes. */
  reachable (isReachable: boolean, error: Error | undefined): void
}

/** Something that was asked, in its place in the queue. */
interface Entry {
  readonly script: Script
  readonly args: readonly Argument[]
  resolve (reply: unknown): void
  reject (error: MqttError): void
  answer: { readonly reply: unknown } | undefined
}

/**
 * The one way by which a generation writes: scripts made with `numberedScript`, executed in the order in which they were asked for, each exactly once, however often
 * the connection is lost. They follow each other without waiting for answers. While Redis is away they wait.
 */
export class Pipe {
  readonly link: Link
  /** 0 until `begin` says otherwise. */
  generation = 0
  /** Position of the last log entry, as far as answers have told. */
  logEnd = 0
  watcher: PipeWatcher | undefined = undefined
  /** What was not answered, oldest first. */
  #queue: Entry[] = []
  /** Number of the first of them; the others follow. */
  #number = 1
  /** How many of them were sent. */
  #sent = 0
  /** How many of those are on their way. */
  #open = 0
  /** Counts up when nothing is on its way any more. */
  #epoch = 0
  /** Something went wrong: what is on its way comes first, then all is sent again. */
  #isStalled = false
  #failures = 0
  #isReachable = true
  /** Why nothing can be asked any more. */
  #end: MqttError | undefined = undefined

  constructor (link: Link) {
    this.link = link
    link.watch({
      lost: error => {
        this.#tell(false, error)
        this.#restart()
      },
      ready: () => {
        if (this.#queue.length === 0) this.#tell(true, undefined) // else the first answer tells
        this.#restart()
        this.#pump()
      },
    })
  }

  get isReachable (): boolean { return this.#isReachable }

  /** Goes on as another generation. What was asked before has to be answered, or rejected, by then. */
  begin (generation: number, lastNumber = 0): void {
    this.#restart()
    this.#end = undefined
    this.generation = generation
    this.#number = lastNumber + 1
    this.#pump()
  }

  /** @throws MqttError (as a rejection) when Redis has refused it; nothing was written then */
  run (script: Script, args: readonly Argument[]): Promise<unknown> {
    if (this.#end !== undefined) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => {
      this.#queue.push({ script, args, resolve, reject, answer: undefined })
      this.#pump()
    })
  }

  /** Whatever waits is rejected. */
  close (): void {
    this.#rejectAll(closed())
  }

  #pump (): void {
    while (!this.#isStalled && this.link.isReady && this.#sent < this.#queue.length) {
      const entry = this.#queue[this.#sent] as Entry
      const number = this.#number + this.#sent++
      if (entry.answer === undefined) this.#send(entry, number)
    }
  }

  #send (entry: Entry, number: number): void {
    const epoch = this.#epoch
    this.#open++
    this.link.eval(entry.script, [this.generation, number, ...entry.args]).then(reply => {
      if (epoch === this.#epoch) this.#answered(entry, reply)
    }, (error: unknown) => {
      if (epoch === this.#epoch) this.#failed(entry, error)
    })
  }

  #answered (entry: Entry, reply: unknown): void {
    this.#open--
    this.#failures = 0
    this.#tell(true, undefined)
    entry.answer = { reply }
    for (let head = this.#queue[0]; head?.answer !== undefined; head = this.#queue[0]) {
      this.#drop(head)
      head.resolve(head.answer.reply)
    }
    this.#resume()
  }

  /** What follows on its way is refused with ORDER, unless the number was used up after all. */
  #failed (entry: Entry, error: unknown): void {
    this.#open--
    this.#isStalled = true
    const remedy = remedyFor(error)
    if (remedy !== 'resend') this.#tell(remedy !== 'wait', error as Error) // an order that is wrong is what the one before it has left
    if (remedy === 'reject') this.#reject(entry, error)
    if (remedy === 'wait') this.#failures++
    if (remedy === 'fenced') this.#fence()
    else this.#recover(entry, error)
  }

  #reject (entry: Entry, error: unknown): void {
    this.#drop(entry)
    entry.reject(describe(error))
  }

  #recover (entry: Entry, error: unknown): void {
    const last = lastExecuted(error)
    if (last !== undefined && entry === this.#queue[0]) this.#number = last + 1
    this.#resume()
  }

  /** Its number counts as used: if it was not, the next one is refused, and learns its number by that. */
  #drop (entry: Entry): void {
    const index = this.#queue.indexOf(entry)
    this.#queue.splice(index, 1)
    this.#sent--
    if (index === 0) this.#number++
  }

  #resume (): void {
    if (!this.#isStalled || this.#open > 0) return
    const epoch = ++this.#epoch
    const again = (): void => {
      if (epoch !== this.#epoch) return
      this.#restart()
      this.#pump()
    }
    if (this.#failures > 0) this.link.later(this.#failures, again)
    else again()
  }

  /** Nothing is on its way. */
  #restart (): void {
    this.#epoch++
    this.#open = 0
    this.#sent = 0
    this.#isStalled = false
  }

  #fence (): void {
    this.#rejectAll(fenced())
    this.watcher?.fenced()
  }

  #rejectAll (error: MqttError): void {
    this.#restart()
    this.#end = error
    const entries = this.#queue
    this.#queue = []
    for (const entry of entries) entry.reject(error)
  }

  #tell (isReachable: boolean, error: Error | undefined): void {
    if (isReachable === this.#isReachable) return
    this.#isReachable = isReachable
    this.watcher?.reachable(isReachable, isReachable ? undefined : withoutCommand(error) as Error | undefined)
  }
}
