// What a message costs whose topic was not seen lately: `node --expose-gc new-topics.js`
import { defaultLimits } from '../../lib/base/limits.ts'
import { Message } from '../../lib/contract/message.ts'
import { Decoder } from '../../lib/packet/codec/decoder.ts'
import { encode } from '../../lib/packet/codec/encoder.ts'
import { PacketType, type Packet } from '../../lib/packet/packets.ts'
import { Router } from '../../lib/router/router.ts'
import { Session } from '../../lib/session/session.ts'
import { parseTopicFilter } from '../../lib/topic/topic-filter.ts'
import { Topic, TopicTable } from '../../lib/topic/topic.ts'
import { measure, runAlone, type Cost } from './measure.ts'
import { CountingSink, newMessage, sessionServices } from './services.ts'

/** More than are remembered. */
const count = 100_000
/** As many as a chunk of a socket holds. */
const perChunk = 600

function topicName (i: number): string { return `site/${i % 1000}/devices/${i}/state` }

function publish (i: number): Packet {
  return { type: PacketType.publish, dup: false, qos: 1, retain: true, topic: new Topic(topicName(i)), packetIdentifier: 1, properties: undefined, payload: Buffer.alloc(64, 'x') }
}

function chunks (): Buffer[] {
  const frames = Array.from({ length: count }, (_, i) => encode(publish(i), 4))
  return Array.from({ length: Math.ceil(count / perChunk) }, (_, i) => Buffer.concat(frames.slice(i * perChunk, (i + 1) * perChunk)))
}

/** Takes each message of some chunks in turn, forever. */
class Publisher {
  readonly #decoder = new Decoder(new TopicTable(), defaultLimits)
  readonly #chunks = chunks()
  #next = 0

  constructor () {
    this.#decoder.protocolVersion = 4
    this.#decoder.maximumPacketSize = defaultLimits.maximumPacketSize
  }

  next (): Message {
    for (;;) {
      const packet = this.#decoder.next()
      if (packet?.type === PacketType.publish) return new Message(packet, packet.topic, 'publisher')
      this.#decoder.push(this.#chunks[this.#next++ % this.#chunks.length] as Buffer)
    }
  }
}

function router (): Router {
  return new Router({ limits: defaultLimits, sharedSubscriptionStrategy: 'roundRobin', deliveryGate: () => undefined, dropped: () => undefined, journal: undefined })
}

/** One Session with all these filters. */
function subscribe (to: Router, topicFilters: readonly string[]): void {
  const services = sessionServices()
  const session = new Session('subscriber', services)
  session.attach(new CountingSink(), 32)
  for (const topicFilter of topicFilters) {
    const parsed = parseTopicFilter(topicFilter, services.limits)
    to.subscribe(session, parsed, topicFilter, { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 })
  }
}

function decodes (): Cost {
  const publisher = new Publisher()
  return measure('decode PUBLISH QoS 1, 64 bytes, new topic', operations => { for (let i = 0; i < operations; i++) publisher.next() }, count)
}

function routes (name: string, ...sessions: readonly (readonly string[])[]): Cost {
  const to = router()
  for (const topicFilters of sessions) subscribe(to, topicFilters)
  const topics = Array.from({ length: count }, (_, i) => new Topic(Buffer.from(topicName(i)).toString()))
  return measure(`route, QoS 0, new topic, ${name}`, operations => {
    for (let i = 0; i < operations; i++) {
      to.route(newMessage(anew(topics[i % count] as Topic), 0), undefined)
    }
  }, count)
}

/** As it comes off the wire the first time. */
function anew ({ name, byteLength }: Topic): Topic {
  const topic = new Topic(name, byteLength)
  topic.isFleeting = true
  return topic
}

/** Stored before, so that each is set in the place of another. */
function retains (): Cost {
  const publisher = new Publisher()
  const to = router()
  return measure(`decode and retain, QoS 1, 64 bytes, ${count.toLocaleString('en')} topics in turn`, operations => {
    for (let i = 0; i < operations; i++) to.route(publisher.next(), undefined)
  }, count)
}

function costs (): Cost[] {
  const names = Array.from({ length: count }, (_, i) => topicName(i))
  return [
    decodes(),
    routes('nobody subscribed'),
    routes('nobody among 100,000 exact filters', names.map(name => `${name}s`)),
    routes('one with "#"', ['#']),
    routes('one with "site/+/devices/+/state"', ['site/+/devices/+/state']),
    routes('one with its name', names),
    routes('one with its name, one with "#"', names, ['#']),
    routes('100 with "#"', ...Array.from({ length: 100 }, () => ['#'])),
    retains(),
  ]
}

runAlone(import.meta.url, costs)
