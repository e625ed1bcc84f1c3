// Two doors: machines of this host come in as they are, everybody else needs a token, and may not change anything. Try it:
//   mosquitto_pub -p 1883 -t lights/hall -m on
//   mosquitto_sub -p 1884 -u token -P letmein -t 'lights/#' -v
import { createServer } from 'node:net'
import { createBroker, type Plugin } from 'myelin'
import { accessRules } from 'myelin/acl'
import { chain, when } from 'myelin/chain'

const everybody: Plugin = { name: 'everybody', hooks: { authenticate: () => ({ allow: true, claims: { groups: ['machines'] } }) } }
const token: Plugin = { name: 'token', hooks: { authenticate: ({ password }) => password?.toString() === 'letmein' } }

const access = chain({
  name: 'access',
  plugins: [
    when({ listener: 'inside', address: ['127.0.0.0/8', '::1'] }, everybody),
    when({ listener: 'outside' }, token),
    accessRules({
      rules: [
        { allow: 'publish', topics: 'lights/+', groups: 'machines' },
        { allow: 'subscribe', topics: 'lights/#' },
      ],
    }),
  ],
})

const broker = await createBroker({ plugins: [access] })
createServer(broker.listener({ name: 'inside' })).listen(1883, '127.0.0.1')
createServer(broker.listener({ name: 'outside' })).listen(1884, '127.0.0.1')
