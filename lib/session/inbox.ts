import type { SessionLog } from './session-log.ts'

/**
 * Packet Identifiers of QoS 2 messages that a Client sent and has not released (section 4.3.3). A repeated
 * PUBLISH with one of them is acknowledged, not routed again.
 */
export class Inbox {
  #identifiers: Set<number> | undefined = undefined
  /** Those whose acknowledgement waits for the store. */
  #unstored: Set<number> | undefined = undefined
  #log: SessionLog | undefined = undefined

  /** Whether its identifiers are stored, so that acknowledgements have to wait for that. */
  get isStored (): boolean { return this.#log !== undefined }

  get size (): number { return this.#identifiers?.size ?? 0 }

  has (packetIdentifier: number): boolean { return this.#identifiers?.has(packetIdentifier) === true }

  add (packetIdentifier: number): void {
    this.#identifiers ??= new Set()
    this.#identifiers.add(packetIdentifier)
    if (this.#log === undefined) return
    this.expect(packetIdentifier)
    this.#log.receive(packetIdentifier, true)
  }

  /** Its message is to be stored before it is acknowledged. */
  expect (packetIdentifier: number): void {
    this.#unstored ??= new Set()
    this.#unstored.add(packetIdentifier)
  }

  /** The store has it: from here on a repeated PUBLISH is acknowledged at once. */
  stored (packetIdentifier: number): void { this.#unstored?.delete(packetIdentifier) }

  /** Whether an identifier that is in use has to be stored first. */
  isUnstored (packetIdentifier: number): boolean { return this.#unstored?.has(packetIdentifier) === true }

  /** PUBREL. Returns false for an identifier that is not in use. */
  delete (packetIdentifier: number): boolean {
    if (this.#identifiers?.delete(packetIdentifier) !== true) return false
    this.#unstored?.delete(packetIdentifier)
    this.#log?.receive(packetIdentifier, false)
    return true
  }

  /** From here on its identifiers are stored, too. */
  keep (log: SessionLog): void { this.#log = log }

  /** Takes over what was found in the store. */
  restore (packetIdentifiers: readonly number[]): void {
    if (packetIdentifiers.length > 0) this.#identifiers = new Set(packetIdentifiers)
  }
}
