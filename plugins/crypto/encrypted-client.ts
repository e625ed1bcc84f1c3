import { EventEmitter } from 'node:events'
import type { IClientOptions, IClientPublishOptions, IPublishPacket, MqttClient, Packet } from 'mqtt'
import { CryptoError } from './errors.ts'
import type { Keyring } from './keyring.ts'

/** What an {@link EncryptedClient} tells. */
export interface EncryptedClientEvents {
  /** A message that was decrypted, of a plain topic, or empty; `packet` has the payload and properties of before the encryption. */
  message: [topicName: string, payload: Buffer, packet: IPublishPacket]
  /** A message that was not delivered, and why; `packet` is as it came. */
  decryptError: [error: CryptoError, packet: IPublishPacket]
}

/** Options of {@link encrypted}. */
export interface EncryptedOptions {
  /** An envelope with MQTT 5.0 as well, so that subscribers of older versions can read it. Default false. */
  readonly envelope?: boolean
}

/** A client of the `mqtt` package whose messages are encrypted. Subscribing, events and all else is `client`'s own; do not listen to its `message`. */
export class EncryptedClient extends EventEmitter<EncryptedClientEvents> {
  readonly client: MqttClient
  readonly #keyring: Keyring
  readonly #envelope: boolean

  /** @internal Made by {@link encrypted}. */
  constructor (client: MqttClient, keyring: Keyring, { envelope = false }: EncryptedOptions) {
    super()
    this.client = client
    this.#keyring = keyring
    this.#envelope = envelope
    client.on('message', (topicName, payload, packet) => { this.#received(topicName, payload, packet) })
  }

  /**
   * Encrypts a message and publishes it; options are those of the `mqtt` package. The topic must be given even where a Topic Alias stands for it on the wire.
   * @throws CryptoError (the promise rejects) when there is no key for the topic: nothing is sent
   */
  async publishAsync (topicName: string, payload: string | Buffer, options: IClientPublishOptions = {}): Promise<Packet | undefined> {
    const { properties } = options
    const sealed = this.#keyring.encrypt(topicName, payload, {
      protocolVersion: versionOf(this.client.options), envelope: this.#envelope, ...(properties === undefined ? {} : { properties }),
    })
    return this.client.publishAsync(topicName, sealed.payload, { ...options, ...(sealed.properties === undefined ? {} : { properties: sealed.properties }) })
  }

  #received (topicName: string, payload: Buffer, packet: IPublishPacket): void {
    try {
      const content = this.#keyring.decrypt(topicName, payload, packet.properties)
      const { properties, ...others } = packet
      this.emit('message', topicName, content.payload, { ...others, payload: content.payload, ...(properties === undefined ? {} : { properties: content.properties ?? {} }) })
    } catch (error) {
      if (!(error instanceof CryptoError)) throw error
      this.emit('decryptError', error, packet)
    }
  }
}

/**
 * Wraps a client of the `mqtt` package: what it publishes is encrypted with the keys of the topic, and what it receives decrypted. A message on a topic without a key, or
 * one that is not encrypted, or was altered, is not delivered: it is told to `decryptError`.
 * @example const secure = encrypted(await mqtt.connectAsync(url), keys); await secure.publishAsync('sensors/attic', '21')
 */
export function encrypted (client: MqttClient, keyring: Keyring, options: EncryptedOptions = {}): EncryptedClient {
  return new EncryptedClient(client, keyring, options)
}

/**
 * The options of the `mqtt` package with the Will Message encrypted, to connect with.
 * @throws CryptoError when there is no key for the Will Topic
 */
export function withEncryptedWill (options: IClientOptions, keyring: Keyring, { envelope = false }: EncryptedOptions = {}): IClientOptions {
  const { will } = options
  if (will?.payload === undefined) return options
  const { willDelayInterval, ...properties } = will.properties ?? {}
  const sealed = keyring.encrypt(will.topic, will.payload, { protocolVersion: versionOf(options), envelope, properties })
  const delay = willDelayInterval === undefined ? {} : { willDelayInterval }
  return { ...options, will: { ...will, payload: sealed.payload, ...(versionOf(options) === 5 ? { properties: { ...sealed.properties, ...delay } } : {}) } }
}

function versionOf ({ protocolVersion }: IClientOptions): 3 | 4 | 5 {
  return protocolVersion === 5 || protocolVersion === 3 ? protocolVersion : 4
}
