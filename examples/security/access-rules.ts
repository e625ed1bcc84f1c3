// Devices see their own topics, operators see everybody's, and nobody gets at what is secret. Try it:
//   mosquitto_sub -u ada -P 'correct horse' -t 'devices/#' -v
//   mosquitto_pub -u pump-1 -P 'drip drop' -t devices/pump-1/state -m on
import { createServer } from 'node:net'
import { createBroker } from 'myelin'
import { accessRules } from 'myelin/acl'

const passwords = new Map([['ada', 'correct horse'], ['pump-1', 'drip drop']]) // a real host has a plugin for passwords here

const acl = accessRules({
  groups: { operators: ['ada'] },
  rules: [
    { deny: 'deliver', topics: 'devices/+/secret' },
    { allow: ['publish', 'subscribe'], topics: 'devices/${username}/#' },
    { allow: 'subscribe', topics: 'devices/#', groups: 'operators' },
    { allow: 'publish', topics: 'commands/+', groups: 'operators', qos: [1, 2], retain: false },
    { allow: 'subscribe', topics: 'commands/${username}' },
  ],
})

const broker = await createBroker({
  hooks: { authenticate: ({ username = '', password }) => password !== undefined && passwords.get(username) === password.toString() },
  plugins: [acl],
})
createServer(broker.handle).listen(1883, '127.0.0.1')
