// What it costs to hand a message to many Sessions: `node --expose-gc fan-out.js`
import { Router } from '../../lib/router/router.ts'
import { Session } from '../../lib/session/session.ts'
import { parseTopicFilter } from '../../lib/topic/topic-filter.ts'
import { Topic } from '../../lib/topic/topic.ts'
import type { QoS } from '../../lib/packet/packets.ts'
import { measure, runAlone, type Cost } from './measure.ts'
import { CountingSink, newMessage, sessionServices } from './services.ts'

interface Audience { readonly router: Router, readonly sessions: readonly Session[], readonly sinks: readonly CountingSink[] }

function audience (size: number, qos: QoS): Audience {
  const services = sessionServices()
  const router = new Router({ limits: services.limits, sharedSubscriptionStrategy: 'roundRobin', deliveryGate: () => undefined, dropped: () => undefined, journal: undefined })
  const parsed = parseTopicFilter('devices/+/lamp/state', services.limits)
  const sinks = Array.from({ length: size }, () => new CountingSink())
  const sessions = sinks.map((sink, i) => {
    const session = new Session(`subscriber ${i}`, services)
    session.attach(sink, 32)
    router.subscribe(session, parsed, 'devices/+/lamp/state', { qos, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 })
    return session
  })
  return { router, sessions, sinks }
}

/** The cost of one delivery, not of one message. */
function fansOut (size: number, qos: QoS): Cost {
  const { router, sessions, sinks } = audience(size, qos)
  const topic = new Topic('devices/1234/lamp/state')
  return measure(`route to ${size.toLocaleString('en')}, QoS ${qos}${qos === 0 ? '' : ', acknowledged'}, for each`, operations => {
    for (let done = 0; done < operations; done += size) {
      router.route(newMessage(topic, qos), undefined)
      if (qos === 1) sessions.forEach((session, i) => session.outbox.acknowledge(sinks[i]?.lastIdentifier ?? 0))
    }
  }, size)
}

function costs (): Cost[] {
  return [fansOut(1, 0), fansOut(1000, 0), fansOut(1, 1), fansOut(1000, 1)]
}

runAlone(import.meta.url, costs)
