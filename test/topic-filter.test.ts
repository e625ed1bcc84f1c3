import t from 'tap'
import fc from 'fast-check'
import { MqttError } from '../lib/base/errors.ts'
import { defaultLimits } from '../lib/base/limits.ts'
import { parseTopicFilter, topicMatches } from '../lib/topic/topic-filter.ts'
import { topicNameFault } from '../lib/topic/topic-name.ts'

const limits = { maximumTopicLength: 20, maximumTopicLevels: 4 }

/** Section 4.7 once more, written as plainly as can be. */
function matchesByTheBook (filter: string[], topicName: string[]): boolean {
  const [level, ...filterRest] = filter
  const [name, ...topicRest] = topicName
  if (level === '#') return true
  if (level === undefined || name === undefined) return level === name
  return (level === '+' || level === name) && matchesByTheBook(filterRest, topicRest)
}

t.test('a Topic Name can be published to', t => {
  for (const name of ['a', '/', '//', 'a/', '$SYS/x', ' ', 'grün', '😀', '\u{1f600}/\u0001', '__proto__', 'a/b/c/d', '12345678901234567890', 'aé890123456789012é']) {
    t.equal(topicNameFault(name, limits), undefined, JSON.stringify(name))
  }
  t.end()
})

const nameFaults: readonly (readonly [string, string, RegExp])[] = [
  ['contains no wildcard + [MQTT-3.3.2-2]', 'a/+', /wildcards \[MQTT-3\.3\.2-2\]/],
  ['contains no wildcard # [MQTT-3.3.2-2]', '#', /wildcards/],
  ['has no wildcard within a level [MQTT-4.7.1-1]', 'a#b/c+d', /wildcards/],
  ['is not empty [MQTT-4.7.3-1]', '', /empty/],
  ['contains no U+0000 [MQTT-4.7.3-2]', 'a/\u0000', /U\+0000/],
  ['contains no lone high surrogate [MQTT-1.5.4-1]', 'a\ud83d', /surrogate/],
  ['contains no lone low surrogate [MQTT-1.5.4-1]', '\ude00\ud83d', /surrogate/],
  ['is not longer than the limit', '123456789012345678901', /longer than 20 bytes/],
  ['is not longer than the limit in bytes of two', 'ééééééééééé', /longer than 20 bytes/],
  ['is not longer than the limit in bytes of three', '€€€€€€€', /longer than 20 bytes/],
  ['is not longer than the limit in bytes of four', '😀😀😀😀😀a', /longer than 20 bytes/],
  ['has not more levels than the limit', '////', /more than 4 levels/],
]

for (const [requirement, name, fault] of nameFaults) {
  t.test(`a Topic Name ${requirement}`, t => {
    t.match(topicNameFault(name, limits), fault)
    t.end()
  })
}

t.test('a Topic Name is not longer than 65,535 bytes, whatever the limit [MQTT-4.7.3-3]', t => {
  const wide = { maximumTopicLength: 100_000, maximumTopicLevels: 64 }
  t.equal(topicNameFault('a'.repeat(65_535), wide), undefined)
  t.match(topicNameFault('a'.repeat(65_536), wide), /65535/)
  t.end()
})

t.test('a length in characters says nothing about the bytes: law against Buffer.byteLength', t => {
  fc.assert(fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }), name => {
    fc.pre(!/[+#\u0000]/.test(name))
    const fault = topicNameFault(name, { maximumTopicLength: 12, maximumTopicLevels: 12 })
    return (fault === undefined) === Buffer.byteLength(name) <= 12
  }))
  t.end()
})

const filters: readonly (readonly [string, string, string | undefined, boolean])[] = [
  ['a/b', 'a/b', undefined, false],
  ['#', '#', undefined, true],
  ['+', '+', undefined, true],
  ['a/#', 'a/#', undefined, true],
  ['+/+/+/#', '+/+/+/#', undefined, true],
  ['/', '/', undefined, false],
  ['/+', '/+', undefined, true],
  ['$SYS/#', '$SYS/#', undefined, true],
  ['$share', '$share', undefined, false],
  ['$shares/a', '$shares/a', undefined, false],
  ['$share/g/a', 'a', 'g', false],
  ['$share/g/#', '#', 'g', true],
  ['$share/g//', '/', 'g', false],
  ['$share/$share/$SYS/+', '$SYS/+', '$share', true],
  ['$share/g/a/b/c/d', 'a/b/c/d', 'g', false],
]

for (const [topicFilter, filter, shareName, hasWildcard] of filters) {
  t.test(`the Topic Filter ${topicFilter} is taken apart`, t => {
    t.strictSame(parseTopicFilter(topicFilter, limits), { filter, shareName, hasWildcard })
    t.end()
  })
}

const filterFaults: readonly (readonly [string, string, RegExp])[] = [
  ['is at least one character long [MQTT-4.7.3-1]', '', /empty/],
  ['has # as its last character [MQTT-4.7.1-1]', 'a/#/b', /MQTT-4\.7\.1-1/],
  ['has nothing after # and a separator [MQTT-4.7.1-1]', '#/', /MQTT-4\.7\.1-1/],
  ['has # after a separator or alone [MQTT-4.7.1-1]', 'a#', /MQTT-4\.7\.1-1/],
  ['does not double # [MQTT-4.7.1-1]', '##', /MQTT-4\.7\.1-1/],
  ['has + filling its level, not at the end of one [MQTT-4.7.1-2]', 'a+', /MQTT-4\.7\.1-2/],
  ['has + filling its level, not at the start of one [MQTT-4.7.1-2]', 'x/+a/b', /MQTT-4\.7\.1-2/],
  ['contains no U+0000 [MQTT-4.7.3-2]', 'a\u0000', /MQTT-4\.7\.3-2/],
  ['contains no lone surrogate', 'a/\ud800/#', /surrogate/],
  ['is not longer than the limit', 'a'.repeat(21), /longer/],
  ['is not longer than the limit in bytes', 'é'.repeat(11), /longer/],
  ['has not more levels than the limit', '+/+/+/+/+', /levels/],
  ['of a Shared Subscription has a ShareName [MQTT-4.8.2-1]', '$share//a', /MQTT-4\.8\.2-1/],
  ['of a Shared Subscription does not end after $share/ [MQTT-4.8.2-1]', '$share/', /MQTT-4\.8\.2-1/],
  ['of a Shared Subscription has no + in its ShareName [MQTT-4.8.2-2]', '$share/+/a', /MQTT-4\.8\.2-2/],
  ['of a Shared Subscription has no # in its ShareName [MQTT-4.8.2-2]', '$share/g#/a', /MQTT-4\.8\.2-2/],
  ['of a Shared Subscription has a separator after its ShareName [MQTT-4.8.2-2]', '$share/g', /MQTT-4\.8\.2-2/],
  ['of a Shared Subscription has a Topic Filter after its ShareName [MQTT-4.8.2-2]', '$share/g/', /MQTT-4\.8\.2-2/],
  ['of a Shared Subscription follows the rules for any other [MQTT-4.7.1-1]', '$share/g/a#', /MQTT-4\.7\.1-1/],
  ['of a Shared Subscription contains no U+0000 in its ShareName', '$share/\u0000/a', /MQTT-4\.7\.3-2/],
  ['of a Shared Subscription is not longer than the limit in all', '$share/ééééé/ééé', /longer/],
]

for (const [requirement, topicFilter, message] of filterFaults) {
  t.test(`a Topic Filter ${requirement}`, t => {
    t.throws(() => parseTopicFilter(topicFilter, limits), { code: 'MQTT_TOPIC_FILTER_INVALID', reasonCode: 0x8f, message })
    t.end()
  })
}

t.test('an error does not repeat the whole of a long Topic Filter', t => {
  try {
    parseTopicFilter('a'.repeat(60_000), defaultLimits)
    t.fail('a filter over the limit is refused')
  } catch (error) {
    t.ok(error instanceof MqttError && error.message.length < 200)
  }
  t.end()
})

const matches: readonly (readonly [string, string, boolean])[] = [
  ['sport/tennis/player1/#', 'sport/tennis/player1', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
  ['sport/#', 'sport', true],
  ['sport/#', 'sports', false],
  ['#', '/', true],
  ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
  ['sport/+', 'sport', false],
  ['sport/+', 'sport/', true],
  ['+/+', '/finance', true],
  ['/+', '/finance', true],
  ['+', '/finance', false],
  ['a', 'a/', false],
  ['a/', 'a', false],
  ['a//b', 'a/b', false],
  ['+/+/#', 'a', false],
  ['ACCOUNTS', 'Accounts', false],
  ['A\u030a', '\u00c5', false], // [MQTT-4.7.3-4]
  ['#', '$SYS', false],
  ['+/monitor/Clients', '$SYS/monitor/Clients', false],
  ['$SYS/#', '$SYS', true],
  ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
  ['a/+/c', 'a/$SYS/c', true],
  ['__proto__/+', '__proto__/constructor', true],
  ['r/[b]/+', 'r/[b]/\\d', true],
]

for (const [filter, topicName, expected] of matches) {
  t.test(`${filter} ${expected ? 'matches' : 'does not match'} ${topicName} [MQTT-4.7.1-1] [MQTT-4.7.2-1] [MQTT-4.7.3-4]`, t => {
    t.equal(topicMatches(filter, topicName), expected)
    t.end()
  })
}

t.test('matching is what section 4.7 says, level by level', t => {
  const level = fc.constantFrom('', 'a', 'b', 'ab', '$x')
  const topic = fc.array(level, { minLength: 1, maxLength: 5 })
  const filter = fc.tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 4 }), fc.constantFrom('#', '+', 'a'))
  fc.assert(fc.property(filter, topic, ([levels, last], topicLevels) => {
    const filterLevels = [...levels, last]
    const isHidden = topicLevels[0]?.startsWith('$') === true && /^[+#]$/.test(filterLevels[0] ?? '') // [MQTT-4.7.2-1]
    const expected = !isHidden && matchesByTheBook(filterLevels, topicLevels)
    return topicMatches(filterLevels.join('/'), topicLevels.join('/')) === expected
  }), { numRuns: 2000 })
  t.end()
})
