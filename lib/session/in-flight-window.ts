import type { Delivery } from './delivery.ts'

const largestIdentifier = 65_535
const smallest = 16
/** Of a window that was never used; nothing is ever put into it. */
const noSlots: (Delivery | undefined)[] = []

/**
 * The QoS 1 and 2 messages that are on their way to a Client, by Packet Identifier (section 2.2.1): a ring indexed by
 * the identifier's low bits. Identifiers go up, so the ring also keeps the order of sending.
 */
export class InFlightWindow {
  #slots = noSlots
  #last = 0
  #size = 0

  get size (): number { return this.#size }

  /** Gives the delivery the next free Packet Identifier [MQTT-2.2.1-4]. The caller keeps the window's size within 65,535. */
  add (delivery: Delivery): void {
    if (this.#size * 2 >= this.#slots.length && this.#slots.length <= largestIdentifier) this.#grow()
    let identifier = this.#last
    do identifier = identifier === largestIdentifier ? 1 : identifier + 1
    while (this.#slots[identifier & (this.#slots.length - 1)] !== undefined)
    this.#last = identifier
    delivery.packetIdentifier = identifier
    this.#slots[identifier & (this.#slots.length - 1)] = delivery
    this.#size++
  }

  /** Puts a delivery back under the Packet Identifier that it has; whatever is put back last was sent last. */
  restore (delivery: Delivery): void {
    if (this.get(delivery.packetIdentifier) !== undefined) return // a store that says so is damaged
    while (this.#slots.length === 0 || this.#slots[delivery.packetIdentifier & (this.#slots.length - 1)] !== undefined) this.#grow()
    this.#slots[delivery.packetIdentifier & (this.#slots.length - 1)] = delivery
    this.#last = delivery.packetIdentifier
    this.#size++
  }

  get (packetIdentifier: number): Delivery | undefined {
    const delivery = this.#slots[packetIdentifier & (this.#slots.length - 1)]
    return delivery?.packetIdentifier === packetIdentifier ? delivery : undefined
  }

  /** Frees the delivery's Packet Identifier. */
  delete (delivery: Delivery): void {
    const slot = delivery.packetIdentifier & (this.#slots.length - 1)
    if (this.#slots[slot] !== delivery) return
    this.#slots[slot] = undefined
    this.#size--
  }

  /** Prepares all messages to outlive the turn. */
  keep (): void {
    for (const delivery of this.#slots) delivery?.message.keep()
  }

  clear (): void {
    this.#slots = noSlots
    this.#size = 0
  }

  /** In the order of sending [MQTT-4.6.0-1]: the identifiers behind the last one given are the oldest. */
  inOrder (): Delivery[] {
    const age = (delivery: Delivery): number => (delivery.packetIdentifier - this.#last - 1 + largestIdentifier) % largestIdentifier
    return this.#slots.filter(delivery => delivery !== undefined).sort((a, b) => age(a) - age(b))
  }

  #grow (): void {
    const before = this.#slots
    const after = new Array<Delivery | undefined>(Math.max(smallest, before.length * 2)).fill(undefined)
    for (const delivery of before) {
      if (delivery !== undefined) after[delivery.packetIdentifier & (after.length - 1)] = delivery
    }
    this.#slots = after
  }
}
