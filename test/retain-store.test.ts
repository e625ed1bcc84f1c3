import t from 'tap'
import fc from 'fast-check'
import { RetainedMessages } from '../lib/router/retained-messages.ts'
import { Topic } from '../lib/topic/topic.ts'
import { topicMatches } from '../lib/topic/topic-filter.ts'

interface Message { readonly topic: Topic, readonly payload: Buffer, readonly expiresAt: number, readonly size: number }

function message (name: string, payload = '', expiresAt = Infinity): Message {
  return { topic: new Topic(name), payload: Buffer.from(payload), expiresAt, size: 100 + payload.length }
}

function store (maximumRetainedMessages = 1000, maximumRetainedBytes = 1_000_000): RetainedMessages<Message> {
  return new RetainedMessages<Message>({ maximumRetainedMessages, maximumRetainedBytes })
}

function names (messages: Iterable<Message>): string[] {
  return [...messages].map(({ topic }) => topic.name).sort()
}

const level = fc.constantFrom('a', 'b', '', '$SYS', '__proto__')
const anyTopic = fc.array(level, { minLength: 1, maxLength: 4 }).map(levels => levels.join('/')).filter(name => name !== '')
const anyFilter = fc.tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 3 }), fc.constantFrom('#', '+', 'a'))
  .map(([levels, last]) => [...levels, last].join('/'))

t.test('a new message takes the place of the one retained before it [MQTT-3.3.1-5]', t => {
  const retained = store()
  t.ok(retained.set(message('a', 'one')))
  t.ok(retained.set(message('a', 'three')))
  t.equal(retained.count, 1)
  t.equal(retained.bytes, 105)
  t.equal(retained.get('a')?.payload.toString(), 'three')
  t.same(retained.match('a', 0).map(({ payload }) => payload.toString()), ['three'])
  t.end()
})

t.test('a message is removed, and only that one [MQTT-3.3.1-6]', t => {
  const retained = store()
  for (const name of ['a', 'a/b', 'a/b/c']) retained.set(message(name))
  t.ok(retained.delete('a/b'))
  t.notOk(retained.delete('a/b'))
  t.notOk(retained.delete('a/x'))
  t.equal(retained.get('a/b'), undefined)
  t.same(names(retained), ['a', 'a/b/c'])
  t.same(names(retained.match('#', 0)), ['a', 'a/b/c'])
  t.equal(retained.bytes, 200)
  t.end()
})

t.test('wildcards at the first level do not match topics that begin with $ [MQTT-4.7.2-1]', t => {
  const retained = store()
  for (const name of ['$SYS', '$SYS/a', 'x/$SYS', '/$SYS']) retained.set(message(name))
  t.same(names(retained.match('#', 0)), ['/$SYS', 'x/$SYS'])
  t.same(names(retained.match('+', 0)), [])
  t.same(names(retained.match('+/a', 0)), [])
  t.same(names(retained.match('+/$SYS', 0)), ['/$SYS', 'x/$SYS'])
  t.same(names(retained.match('$SYS/#', 0)), ['$SYS', '$SYS/a'])
  t.end()
})

t.test('any sequence of storing and removing finds what the filter matches', t => {
  const steps = fc.array(anyTopic, { minLength: 1, maxLength: 10 })
    .chain(pool => fc.array(fc.tuple(fc.constantFrom(...pool), fc.boolean()), { maxLength: 40 }))
  fc.assert(fc.property(steps, fc.array(anyFilter, { minLength: 1, maxLength: 5 }), (steps, filters) => {
    const retained = store()
    const model = new Set<string>()
    for (const [name, isRemoval] of steps) {
      if (!isRemoval) model.add(name)
      if (isRemoval ? retained.delete(name) !== model.delete(name) : !retained.set(message(name))) throw new Error(name)
      if (retained.count !== model.size || retained.bytes !== 100 * model.size) throw new Error('count')
      for (const filter of filters) {
        const expected = [...model].filter(known => topicMatches(filter, known)).sort()
        if (names(retained.match(filter, 0)).join() !== expected.join()) throw new Error(filter)
      }
    }
  }), { numRuns: 500 })
  t.end()
})

t.test('over the limit of messages a new topic is refused, a known one replaced', t => {
  const retained = store(2)
  t.ok(retained.set(message('a')))
  t.ok(retained.set(message('b')))
  t.notOk(retained.set(message('c')))
  t.equal(retained.get('c'), undefined)
  t.ok(retained.set(message('b', 'new')))
  t.ok(retained.delete('a'))
  t.ok(retained.set(message('c')))
  t.end()
})

t.test('over the limit of bytes a message is refused, and what was there stays', t => {
  const retained = store(10, 210)
  t.ok(retained.set(message('a')))
  t.ok(retained.set(message('b', 'old')))
  t.notOk(retained.set(message('b', 'much longer')))
  t.equal(retained.get('b')?.payload.toString(), 'old')
  t.equal(retained.bytes, 203)
  t.ok(retained.set(message('b', '1234567890')), 'the limit itself may be reached')
  t.end()
})

t.test('an expired message is not found, and goes with the next sweep [MQTT-3.3.2-5]', t => {
  const retained = store()
  retained.set(message('a', '', 1000))
  retained.set(message('b', '', 2000))
  retained.set(message('c'))
  t.same(names(retained.match('+', 999)), ['a', 'b', 'c'])
  t.same(names(retained.match('+', 1000)), ['b', 'c'])
  t.same(names(retained.match('a', 1000)), [])
  t.equal(retained.sweep(999), 0)
  t.equal(retained.sweep(1000), 1)
  t.equal(retained.sweep(1000), 0)
  t.same(names(retained), ['b', 'c'])
  t.equal(retained.sweep(1e15), 1)
  t.same(names(retained), ['c'])
  t.equal(retained.bytes, 100)
  t.end()
})

t.test('a message that took another\'s place keeps its own time', t => {
  const retained = store()
  retained.set(message('later', '', 1000))
  retained.set(message('later', '', 3000))
  retained.set(message('earlier', '', 3000))
  retained.set(message('earlier', '', 1000))
  retained.set(message('never', '', 1000))
  retained.set(message('never'))
  retained.set(message('gone', '', 1000))
  retained.delete('gone')
  t.equal(retained.sweep(1000), 1)
  t.same(names(retained), ['later', 'never'])
  t.equal(retained.sweep(3000), 1)
  t.same(names(retained), ['never'])
  t.end()
})

t.test('a topic that is refreshed for ever still expires once', t => {
  const retained = store()
  retained.set(message('other', '', 5))
  retained.set(message('never'))
  for (let at = 10_000; at > 0; at--) retained.set(message('a', '', 20_000 - at))
  t.equal(retained.sweep(19_998), 1, 'the other one')
  t.equal(retained.sweep(19_999), 1)
  t.same(names(retained), ['never'])
  t.end()
})
