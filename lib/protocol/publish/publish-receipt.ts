import type { MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { isReasonCodeOf } from '../../packet/packet-reason-codes.ts'
import { PacketType, QoS, type AcknowledgeType } from '../../packet/packets.ts'
import type { Waiter } from '../../store/pending-message.ts'
import type { Client } from '../client/client.ts'

type ReceiptType = typeof PacketType.puback | typeof PacketType.pubrec

/** PUBACK or PUBREC with the Reason Code of a message that was taken. */
export function acknowledge (client: Client, type: ReceiptType, packetIdentifier: number, reasonCode: ReasonCode): void {
  if (reasonCode === ReasonCode.success || client.protocolVersion < 5) client.sink.acknowledge(type, packetIdentifier)
  else client.sink.send({ type, packetIdentifier, reasonCode, properties: undefined })
}

/** A publisher that waits for its message to be stored: until then it is not told that the broker has it. */
export class PublishReceipt implements Waiter {
  readonly #client: Client
  readonly #type: ReceiptType
  readonly #packetIdentifier: number
  readonly #reasonCode: ReasonCode

  constructor (client: Client, qos: QoS, packetIdentifier: number, reasonCode: ReasonCode) {
    this.#client = client
    this.#type = qos === QoS.exactlyOnce ? PacketType.pubrec : PacketType.puback
    this.#packetIdentifier = packetIdentifier
    this.#reasonCode = reasonCode
    client.owe()
  }

  stored (): void {
    if (this.#type === PacketType.pubrec) this.#client.session?.inbox.stored(this.#packetIdentifier)
    if (this.#client.phase === 'connected') acknowledge(this.#client, this.#type, this.#packetIdentifier, this.#reasonCode)
    this.#client.answered()
  }

  /** MQTT 3.x has no word for "no", and "yes" would be a lie: the Client sends it again when it comes back. */
  refused ({ reasonCode }: MqttError): boolean {
    if (this.#type === PacketType.pubrec) this.#client.session?.inbox.delete(this.#packetIdentifier)
    if (this.#client.phase === 'connected' && this.#client.protocolVersion === 5) this.#refuse(reasonCode)
    this.#client.answered()
    return false
  }

  #refuse (reasonCode: ReasonCode): void {
    const told = isReasonCodeOf(this.#type, reasonCode) ? reasonCode : ReasonCode.implementationSpecificError
    this.#client.sink.send({ type: this.#type, packetIdentifier: this.#packetIdentifier, reasonCode: told, properties: undefined })
  }
}

/** PUBREC of a message that was sent again: once it is stored, which it mostly is. */
export function repeatPubrec (client: Client, packetIdentifier: number): void {
  const { inbox } = client.ownSession
  if (!inbox.isUnstored(packetIdentifier)) client.sink.acknowledge(PacketType.pubrec, packetIdentifier)
  else if (inbox.isStored) acknowledgeStored(client, PacketType.pubrec, packetIdentifier)
  // else it came in this connection, which has yet to be answered
}

/** At once, or, where the Session is stored, once all that was recorded so far is. */
export function acknowledgeStored (client: Client, type: AcknowledgeType, packetIdentifier: number): void {
  if (client.ownSession.inbox.isStored) client.services.journal?.wait(new StoredAcknowledgement(client, type, packetIdentifier))
  else client.sink.acknowledge(type, packetIdentifier)
}

/** An acknowledgement that says that a Packet Identifier is stored, or free. */
class StoredAcknowledgement implements Waiter {
  readonly #client: Client
  readonly #type: AcknowledgeType
  readonly #packetIdentifier: number

  constructor (client: Client, type: AcknowledgeType, packetIdentifier: number) {
    this.#client = client
    this.#type = type
    this.#packetIdentifier = packetIdentifier
    client.owe()
  }

  stored (): void {
    if (this.#isWanted) this.#client.sink.acknowledge(this.#type, this.#packetIdentifier)
    this.#client.answered()
  }

  /** What was to be written is part of the next commit. */
  refused (): boolean {
    const isWanted = this.#isWanted
    if (!isWanted) this.#client.answered()
    return isWanted
  }

  /** A PUBREC is not, once the message itself could not be stored. */
  get #isWanted (): boolean {
    const { phase, session } = this.#client
    return phase === 'connected' && (this.#type !== PacketType.pubrec || session?.inbox.has(this.#packetIdentifier) === true)
  }
}
