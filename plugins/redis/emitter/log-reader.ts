import type { EmitterEvents, LogEntry, Message, MessageCodec, NodeDescription } from '../../../lib/index.ts'
import { retainedBuckets, retainedKey } from '../link/layout.ts'
import type { Link } from '../link/link.ts'
import { decodeEntries, type StreamEntry, type StreamListener } from './stream-reader.ts'

/** Entries that are read at once while the log is caught up with, and fields of a hash. */
const pageEntries = 500

interface LogEnd {
  readonly position: number
  readonly moves: number
}

/** Tells a node what the log has. */
export class LogListener implements StreamListener {
  readonly #generation: number
  readonly #codec: MessageCodec
  readonly #events: Pick<EmitterEvents, 'logged'>
  /** Nodes that were told of, and not of their end. */
  readonly #known = new Set<number>()
  /** Of the last entry that was told. */
  #position = 0

  constructor (generation: number, codec: MessageCodec, events: Pick<EmitterEvents, 'logged'>) {
    this.#generation = generation
    this.#codec = codec
    this.#events = events
  }

  get position (): number { return this.#position }

  /**
   * Tells of all that is there, as of the log's end when this node joined.
   * @param known position up to which it knows what is retained
   */
  async begin (link: Link, end: LogEnd, known: number): Promise<void> {
    await this.#tellNodes(link, end)
    if (known < end.position) await this.#tellRetainedSince(link, known, end.position)
    this.#position = end.position
  }

  async read (entries: readonly StreamEntry[], link: Link): Promise<void> {
    const news = entries.filter(({ position }) => position > this.#position)
    const [first] = news
    if (first === undefined) return
    if (first.position > this.#position + 1) await this.#resync(link)
    else await this.#tell(news, link)
  }

  async checked (_: number, link: Link): Promise<number> {
    if (await positionIn(link) < this.#position) await this.#resync(link)
    return this.#position
  }

  /** The log has lost entries that this node had not read: everything is told anew. */
  async #resync (link: Link): Promise<void> {
    const end = await endOf(link)
    await this.#tellNodes(link, end)
    await this.#tellRetained(link, end.position)
    this.#position = end.position
  }

  /** Everything is read before the first of it is told, so that what was known until then is replaced in one go. */
  async #tellNodes (link: Link, { position, moves }: LogEnd): Promise<void> {
    const entries: LogEntry[] = [...this.#known].map(generation => ({ kind: 'left', position, generation }))
    for (const [generation, description] of await nodesOf(link)) {
      if (generation === this.#generation) continue
      entries.push({ kind: 'joined', position, generation, description }, { kind: 'routes', position, generation, routes: await routesOf(link, generation), moves })
    }
    for (const entry of entries) this.#log(entry)
    this.#log({ kind: 'routes', position, generation: this.#generation, routes: new Map(), moves })
  }

  async #tellRetainedSince (link: Link, known: number, end: number): Promise<void> {
    for (let from = known + 1; from <= end;) {
      const page = decodeEntries(await link.command('XRANGE', 'lg', `${from}-0`, `${end}-0`, 'COUNT', pageEntries))
      const [first, last] = [page[0], page.at(-1)]
      if (first === undefined || last === undefined || first.position > from) return this.#tellRetained(link, end)
      await this.#tell(page.filter(entry => kindOf(entry) === 'retained'), link)
      from = last.position + 1
    }
  }

  /** All that is retained now, and with it what is not. */
  async #tellRetained (link: Link, position: number): Promise<void> {
    this.#log({ kind: 'retainedAnew', position, generation: 0, isComplete: false })
    for (let bucket = 0; bucket < retainedBuckets; bucket++) {
      for await (const [topicName, bytes] of fieldsOf(link, `ret:${bucket}`)) {
        this.#log({ kind: 'retained', position, generation: 0, topicName: topicName.toString(), message: this.#codec.decode(bytes) })
      }
    }
    this.#log({ kind: 'retainedAnew', position, generation: 0, isComplete: true })
  }

  async #tell (entries: readonly StreamEntry[], link: Link): Promise<void> {
    const topicNames = new Set(entries.filter(entry => kindOf(entry) === 'retained').map(({ fields }) => String(fields[5])))
    const retained = topicNames.size === 0 ? noValues : await retainedOf(link, topicNames)
    for (const entry of entries) {
      if (entry.position > this.#position) this.#position = entry.position
      this.#log(this.#decode(entry, retained))
    }
  }

  #log (entry: LogEntry): void {
    if (entry.kind === 'joined') this.#known.add(entry.generation)
    if (entry.kind === 'left') this.#known.delete(entry.generation)
    this.#events.logged(entry)
  }

  #decode (entry: StreamEntry, retained: ReadonlyMap<string, Buffer>): LogEntry {
    const { position, fields } = entry
    const head = { position, generation: Number(fields[3]) }
    switch (kindOf(entry)) {
      case 'joined': return { ...head, kind: 'joined', description: JSON.parse(String(fields[5])) as NodeDescription }
      case 'routes': return { ...head, kind: 'routes', moves: Number(fields[5]), routes: decodeRoutes(fields.slice(6)) }
      case 'retained': return { ...head, kind: 'retained', topicName: String(fields[5]), message: this.#messageOf(retained.get(String(fields[5]))) }
      default: return { ...head, kind: 'left' }
    }
  }

  #messageOf (bytes: Buffer | undefined): Message | undefined {
    return bytes === undefined ? undefined : this.#codec.decode(bytes)
  }
}

const noValues: ReadonlyMap<string, Buffer> = new Map()

function kindOf ({ fields }: StreamEntry): string { return String(fields[1]) }

function decodeRoutes (fields: readonly Buffer[]): Map<string, number | undefined> {
  const routes = new Map<string, number | undefined>()
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const count = String(fields[i + 1])
    routes.set(String(fields[i]), count === '' ? undefined : Number(count))
  }
  return routes
}

async function endOf (link: Link): Promise<LogEnd> {
  const [position, moves] = await link.command('HMGET', 'n', 'log', 'moves') as (Buffer | null)[]
  return { position: Number(position ?? 0), moves: Number(moves ?? 0) }
}

async function positionIn (link: Link): Promise<number> { return (await endOf(link)).position }

async function nodesOf (link: Link): Promise<Map<number, NodeDescription>> {
  const fields = await link.command('HGETALL', 'nodes') as Buffer[]
  const nodes = new Map<number, NodeDescription>()
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const { name, version } = JSON.parse(String(fields[i + 1])) as NodeDescription
    nodes.set(Number(fields[i]), { name, version })
  }
  return nodes
}

async function routesOf (link: Link, generation: number): Promise<Map<string, number>> {
  const routes = new Map<string, number>()
  for await (const [topicFilter, count] of fieldsOf(link, `w:${generation}`)) routes.set(topicFilter.toString(), Number(count))
  return routes
}

/** Of a hash, by pages; some of them may come twice. */
async function * fieldsOf (link: Link, key: string): AsyncGenerator<readonly [field: Buffer, value: Buffer]> {
  let cursor = '0'
  do {
    const [next, fields] = await link.command('HSCAN', key, cursor, 'COUNT', pageEntries) as [Buffer, Buffer[]]
    for (let i = 0; i + 1 < fields.length; i += 2) yield [fields[i] as Buffer, fields[i + 1] as Buffer]
    cursor = next.toString()
  } while (cursor !== '0')
}

function byRetainedKey (topicNames: Iterable<string>): Map<string, string[]> {
  const byKey = new Map<string, string[]>()
  for (const topicName of topicNames) {
    const key = retainedKey(topicName)
    const names = byKey.get(key)
    if (names === undefined) byKey.set(key, [topicName])
    else names.push(topicName)
  }
  return byKey
}

/** What those topics have now. */
async function retainedOf (link: Link, topicNames: ReadonlySet<string>): Promise<Map<string, Buffer>> {
  const values = new Map<string, Buffer>()
  await Promise.all([...byRetainedKey(topicNames)].map(async ([key, names]) => {
    const found = await link.command('HMGET', key, ...names) as (Buffer | null)[]
    for (const [i, value] of found.entries()) if (value !== null) values.set(names[i] as string, value)
  }))
  return values
}
