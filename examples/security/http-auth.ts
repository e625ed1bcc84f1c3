// A service of your own decides who may connect, publish and subscribe.
import { createServer } from 'node:net'
import { createBroker } from 'myelin'
import { httpAuth } from 'myelin/http-auth'

const [url = 'http://127.0.0.1:8081/mqtt'] = process.argv.slice(2)
const broker = await createBroker({
  plugins: [httpAuth({
    url,
    authorizeUrl: url,
    headers: { authorization: `Bearer ${process.env['AUTH_SECRET'] ?? ''}` }, // by which the service knows the broker
    timeoutMs: 2000,
  })],
})
createServer(broker.handle).listen(1883, '127.0.0.1')
