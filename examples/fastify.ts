// MQTT over WebSocket on a Fastify app, at ws://127.0.0.1:8080/mqtt, for whoever is logged in at the app.
import { randomUUID } from 'node:crypto'
import cookie from '@fastify/cookie'
import Fastify from 'fastify'
import { myelin, requestOf } from 'myelin/fastify'

declare module 'fastify' {
  interface FastifyRequest { user: string | undefined }
}

const sessions = new Map<string, string>()
const app = Fastify()
await app.register(cookie)

// The app's own hooks decide about an upgrade as about any other request: this one answers 401.
app.decorateRequest('user', undefined)
app.addHook('onRequest', async (request, reply) => {
  request.user = sessions.get(request.cookies['session'] ?? '')
  if (request.user === undefined && request.routeOptions.url !== '/login') return reply.code(401).send({ error: 'log in first' })
})

await app.register(myelin, {
  path: '/mqtt',
  origin: 'http://127.0.0.1:8080', // the pages that may use the cookie; others are refused with 403
  hooks: {
    // What the hooks have found out is there: `user` as above, cookies, a session.
    authenticate ({ connection }) {
      const user = requestOf(connection)?.user
      return user !== undefined && { allow: true, username: user }
    },
    authorizePublish: ({ client, topicName }) => topicName.startsWith(`users/${client.username ?? ''}/`),
  },
})

app.post<{ Querystring: { user: string } }>('/login', async (request, reply) => { // a password would be a good idea
  const session = randomUUID()
  sessions.set(session, request.query.user)
  return reply.setCookie('session', session, { httpOnly: true, sameSite: 'strict' }).send({ welcome: request.query.user })
})
app.post<{ Body: string }>('/alarm', async request => {
  await app.mqtt.publish('alarm', `${request.user ?? ''} says ${request.body}`, { qos: 1 })
  return { clients: app.mqtt.metrics.clientsConnected }
})

await app.listen({ port: 8080, host: '127.0.0.1' })
process.once('SIGTERM', () => { void app.close() }) // ends the connections of the broker, too
