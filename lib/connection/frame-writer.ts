import type { Clock } from '../contract/clock.ts'
import type { Message } from '../contract/message.ts'
import type { AcknowledgeType } from '../packet/packets.ts'
import { copyBytes, publishLength, publishRemainingLength, writeAcknowledge, writePublishHead, type PublishHead } from '../packet/control-packets/publish-encoder.ts'
import type { OutboundTopicAliases } from '../protocol/client/topic-alias.ts'
import type { Output } from './output.ts'

/** Payloads from this size on are not copied into the output. */
const copiedBelow = 8192

/** Writes the packets of the hot path straight into a connection's output. */
export class FrameWriter {
  readonly #clock: Clock

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /**
   * Writes one PUBLISH; `head` says all but the Topic Alias and what is left of the Message Expiry Interval.
   * @returns false when it would be larger than `maximumPacketSize`; nothing is written then, and no alias given
   */
  write (output: Output, message: Message, head: PublishHead, aliases: OutboundTopicAliases | undefined, maximumPacketSize: number): boolean {
    head.messageExpiryInterval = message.expiresAt === Infinity ? -1 : this.#secondsLeft(message.expiresAt)
    head.topicAlias = aliases === undefined ? 0 : aliases.find(message.topic)
    head.omitTopic = head.topicAlias > 0
    const remainingLength = publishRemainingLength(message, head)
    if (publishLength(remainingLength) > maximumPacketSize) return false
    if (aliases !== undefined && !head.omitTopic) return this.#writeWithNewAlias(output, message, head, aliases, maximumPacketSize)
    writeFrame(output, message, head, remainingLength)
    return true
  }

  writeAcknowledge (output: Output, type: AcknowledgeType, packetIdentifier: number): void {
    output.position = writeAcknowledge(output.reserve(4), output.position, type, packetIdentifier)
  }

  /** The first message of a topic carries both its name and its alias, three bytes more, if there is room for them. */
  #writeWithNewAlias (output: Output, message: Message, head: PublishHead, aliases: OutboundTopicAliases, maximumPacketSize: number): boolean {
    head.topicAlias = 1
    const fits = publishLength(publishRemainingLength(message, head)) <= maximumPacketSize
    head.topicAlias = fits ? aliases.assign(message.topic) : 0
    writeFrame(output, message, head, publishRemainingLength(message, head))
    return true
  }

  // What is sent again may have expired since it was sent first [MQTT-3.3.2-6].
  #secondsLeft (expiresAt: number): number {
    return Math.max(0, Math.ceil((expiresAt - this.#clock.now()) / 1000))
  }
}

function writeFrame (output: Output, message: Message, head: PublishHead, remainingLength: number): void {
  const length = publishLength(remainingLength)
  if (message.payloadLength >= copiedBelow) {
    const buffer = output.reserve(length - message.payloadLength)
    output.position = writePublishHead(buffer, output.position, message, head, remainingLength)
    appendPayload(output, message)
    return
  }
  const buffer = output.reserve(length)
  output.position = copyBytes(message.payload, buffer, writePublishHead(buffer, output.position, message, head, remainingLength))
}

function appendPayload (output: Output, message: Message): void {
  if (message.pieces === undefined) output.append(message.payload)
  else for (const piece of message.pieces.list) output.append(piece)
}
