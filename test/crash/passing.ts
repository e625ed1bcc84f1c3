import { setTimeout as delay } from 'node:timers/promises'
import { connectPacket } from '../support/harness.ts'
import { lasting } from '../support/exchanges.ts'
import { subscribePacket } from './clients/raw-subscriber.ts'
import { Visit } from './clients/visit.ts'
import type { World } from './world.ts'

/** Seconds that their Sessions last. */
const expiry = 1
const longestStayMs = 100

/** Clients that subscribe, and never come back: their Sessions end, with all that waits in them. */
export class Passing {
  static readonly prefix: string = 'passing-'
  readonly #world: World
  #count = 0

  constructor (world: World) { this.#world = world }

  async begin (): Promise<void> {
    const name = `${Passing.prefix}${++this.#count}`
    const stayMs = this.#world.random.for(name).between(0, longestStayMs)
    const visit = await Visit.begin(this.#world, connectPacket({ ...lasting({ properties: { sessionExpiryInterval: expiry } }), clientIdentifier: name }))
    visit.send(subscribePacket(['load/#'], 2))
    await visit.subscribed
    await delay(stayMs)
    visit.vanish()
  }
}
