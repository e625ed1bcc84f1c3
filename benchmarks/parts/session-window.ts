// What it costs to keep messages in flight and waiting: `node --expose-gc session-window.js`
import type { DeliveryOptions } from '../../lib/contract/packet-sink.ts'
import type { QoS } from '../../lib/packet/packets.ts'
import { Outbox } from '../../lib/session/outbox.ts'
import { Topic } from '../../lib/topic/topic.ts'
import { measure, runAlone, type Cost } from './measure.ts'
import { CountingSink, newMessage, sessionServices } from './services.ts'

const windowSize = 32
const target = { clientIdentifier: 'subscriber', client: undefined }

interface Subject { readonly outbox: Outbox, readonly sink: CountingSink, readonly deliver: () => void }

function subject (qos: QoS): Subject {
  const outbox = new Outbox(target, sessionServices())
  const sink = new CountingSink()
  const options: DeliveryOptions = { qos, retain: false, subscriptionIdentifiers: [] }
  const message = newMessage(new Topic('devices/1234/lamp/state'), qos)
  outbox.attach(sink, windowSize)
  return { outbox, sink, deliver: () => { outbox.deliver(message, options, undefined) } }
}

function atLeastOnce ({ outbox }: Subject, packetIdentifier: number): void { outbox.acknowledge(packetIdentifier) }

function exactlyOnce ({ outbox }: Subject, packetIdentifier: number): void {
  outbox.release(packetIdentifier)
  outbox.complete(packetIdentifier)
}

/** A full window goes out, then comes back. */
function windows (qos: 1 | 2): Cost {
  const it = subject(qos)
  const finish = qos === 1 ? atLeastOnce : exactlyOnce
  return measure(`send and acknowledge QoS ${qos}, window of ${windowSize}`, operations => {
    for (let done = 0; done < operations; done += windowSize) {
      for (let i = 0; i < windowSize; i++) it.deliver()
      const last = it.sink.lastIdentifier
      for (let i = windowSize - 1; i >= 0; i--) finish(it, (last - i + 65_534) % 65_535 + 1)
    }
  }, windowSize)
}

/** Everything is behind a full window, and leaves it one by one. */
function backlog (length: number): Cost {
  const it = subject(1)
  return measure(`queue ${length.toLocaleString('en')} behind the window and drain them, for each`, operations => {
    for (let done = 0; done < operations; done += length) {
      for (let i = 0; i < length; i++) it.deliver()
      let next = it.sink.lastIdentifier - windowSize + 1
      while (it.outbox.inFlightCount > 0) it.outbox.acknowledge((next++ + 65_534) % 65_535 + 1)
    }
  }, length)
}

function costs (): Cost[] {
  return [windows(1), windows(2), backlog(100_000)]
}

runAlone(import.meta.url, costs)
