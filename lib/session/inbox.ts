/**
 * Packet Identifiers of QoS 2 messages that a Client sent and has not released (section 4.3.3). A repeated
 * PUBLISH with one of them is acknowledged, not routed again.
 */
export class Inbox {
  #identifiers: Set<number> | undefined = undefined

  get size (): number { return this.#identifiers?.size ?? 0 }

  has (packetIdentifier: number): boolean { return this.#identifiers?.has(packetIdentifier) === true }

  add (packetIdentifier: number): void {
    this.#identifiers ??= new Set()
    this.#identifiers.add(packetIdentifier)
  }

  /** PUBREL. Returns false for an identifier that is not in use. */
  delete (packetIdentifier: number): boolean { return this.#identifiers?.delete(packetIdentifier) === true }
}
