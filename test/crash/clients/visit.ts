import { EventEmitter, once } from 'node:events'
import { PacketType, type ConnackPacket, type ConnectPacket, type Packet } from '../../../lib/packet/packets.ts'
import { Wire } from './wire.ts'
import type { World } from '../world.ts'

/** One connection of a Client that does not come back by itself, and acknowledges nothing. */
export class Visit {
  /** CONNACK; undefined when the broker was killed before. */
  readonly accepted: Promise<ConnackPacket | undefined>
  /** SUBACK has come, or never will. */
  readonly subscribed: Promise<unknown>
  readonly ended: Promise<unknown>
  /** Of the broker. */
  readonly incarnation: number
  readonly #wire: Wire

  private constructor (world: World, port: number, connect: ConnectPacket) {
    this.incarnation = world.broker.incarnation
    const events = new EventEmitter()
    this.ended = once(events, 'end')
    this.accepted = Promise.race([once(events, 'connack').then(([connack]) => connack as ConnackPacket), this.ended.then(() => undefined)])
    this.subscribed = Promise.race([once(events, 'suback'), this.ended])
    const received = (packet: Packet): void => {
      world.event()
      if (packet.type === PacketType.connack) events.emit('connack', packet)
      if (packet.type === PacketType.suback) events.emit('suback')
    }
    this.#wire = new Wire(port, connect.protocolVersion, { received, closed: () => { events.emit('end') } })
    this.#wire.send(connect)
  }

  static async begin (world: World, connect: ConnectPacket): Promise<Visit> {
    return new Visit(world, await world.broker.up(), connect)
  }

  send (packet: Packet): void { this.#wire.send(packet) }

  vanish (): void { this.#wire.destroy() }
}
