import type { MqttError } from '../../base/errors.ts'
import type { PacketSink } from '../../contract/packet-sink.ts'
import type { ProtocolVersion } from '../../packet/packets.ts'

/** What a Client said in CONNECT of the packets it can take. */
export interface ClientLimits {
  readonly protocolVersion: ProtocolVersion
  /** Bytes (section 3.1.2.11.4); those of the largest packet that there can be for no limit. */
  readonly maximumPacketSize: number
  /** Topic Aliases that the broker may use (section 3.1.2.11.5); 0 for none. */
  readonly topicAliasMaximum: number
}

/** A Network Connection as the protocol sees it: packets go in, bytes are none of its business. */
export interface NetworkSink extends PacketSink {
  /** From here on packets follow what the Client said in CONNECT. */
  negotiate (limits: ClientLimits): void
  /** The Client's phase, its Keep Alive or the time of its credentials has changed, and with it when something falls due. */
  schedule (): void
  /** Answers an error as its Reason Code asks, then closes. */
  fail (error: MqttError): void
  /** Closes once what was sent has left; nothing more is received. */
  close (): void
}

/** In the place of a Network Connection that is gone. */
export const nowhere: NetworkSink = {
  isCongested: false,
  hasRoom: false,
  publish: () => true,
  acknowledge: nothing,
  send: nothing,
  disconnect: nothing,
  negotiate: nothing,
  schedule: nothing,
  fail: nothing,
  close: nothing,
}

function nothing (): void { /* nobody is there to hear it */ }
