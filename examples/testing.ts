// A plugin that lets devices in by token, and its tests: `node --test` on the built file, or on this one where Node runs TypeScript.
import assert from 'node:assert/strict'
import { test as it } from 'node:test'
import { ReasonCode, type MaybePromise, type Plugin } from 'myelin'
import { createTestBroker } from 'myelin/testing'

/** Users whose name begins with `device/` need a token that `lookUp` knows; it is theirs for an hour. */
function deviceTokens (lookUp: (token: string) => MaybePromise<string | undefined>): Plugin {
  let now = Date.now
  return {
    name: 'device-tokens',
    setup (broker) { now = () => broker.clock.now() },
    hooks: {
      async authenticate ({ username, password }) {
        if (username?.startsWith('device/') !== true) return undefined // not mine
        const device = await lookUp(password?.toString() ?? '')
        return device === username && { allow: true, clientIdentifier: device, expiresAt: now() + 3_600_000 }
      },
      authorizePublish: ({ client, topicName }) => topicName.startsWith(`${client.clientIdentifier}/`),
    },
  }
}

const tokens = new Map([['t0ken', 'device/7']])
const ada: Plugin = { name: 'ada', hooks: { authenticate: ({ username }) => username === 'ada' || undefined } }

await it('a device gets in with its token, and publishes below its name only', async () => {
  const test = await createTestBroker({ plugins: [deviceTokens(token => tokens.get(token)), ada] })
  const device = await test.connect({ username: 'device/7', password: 't0ken' })
  const watcher = await test.connect({ username: 'ada', protocolVersion: 4 })
  await watcher.subscribe('#')
  assert.equal(await device.publish('device/7/temperature', '21', { qos: 1 }), ReasonCode.success)
  assert.equal(await device.publish('device/8/temperature', '21', { qos: 1 }), ReasonCode.notAuthorized)
  await watcher.expectMessage('device/+/temperature', { payload: '21' })
  await watcher.expectNoMessage()
  await test.close()
})

await it('wrong tokens and other devices\' tokens are refused; strangers are left to other plugins', async () => {
  const test = await createTestBroker({ plugins: [deviceTokens(token => tokens.get(token))] })
  for (const [username, password] of [['device/7', 'wrong'], ['device/8', 't0ken'], ['grace', 't0ken']] as const) {
    await test.client({ username, password }).expectRefused(ReasonCode.badUserNameOrPassword)
  }
  await test.close()
})

await it('the token ends after an hour', async () => {
  const test = await createTestBroker({ plugins: [deviceTokens(token => tokens.get(token))] })
  const device = await test.connect({ username: 'device/7', password: 't0ken' })
  await test.clock.advance(3_600_000)
  await device.expectDisconnect(ReasonCode.maximumConnectTime)
  await test.close()
})

await it('a look-up that fails lets nobody in, and says so in the log', async () => {
  const test = await createTestBroker({ plugins: [deviceTokens(() => Promise.reject(new Error('the database is away')))] })
  await test.client({ username: 'device/7', password: 't0ken' }).expectRefused(ReasonCode.notAuthorized)
  assert.match(test.log.take('error').join(), /authenticate/)
  await test.close()
})
