// MQTT over WebSocket beside an Express app, at ws://127.0.0.1:8080/mqtt, for whoever has a session of the app.
import { ServerResponse, type IncomingMessage } from 'node:http'
import express, { type Request, type Response } from 'express'
import session from 'express-session'
import { createBroker } from 'myelin'

declare module 'express-session' {
  interface SessionData { user: string }
}

const sessions = session({ secret: 'keep me elsewhere', resave: false, saveUninitialized: false })
const app = express()
app.use(sessions)
app.post('/login/:user', (request, response) => { // a password would be a good idea
  request.session.user = request.params.user
  response.json({ welcome: request.params.user })
})

const broker = await createBroker({
  hooks: {
    authenticate: ({ connection: { identity } }) => typeof identity === 'string' && { allow: true, username: identity },
    authorizePublish: ({ client, topicName }) => topicName.startsWith(`users/${client.username ?? ''}/`),
  },
})

/** The app's middleware looks at an upgrade as at any other request; nothing is written to this response. */
function userOf (request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    sessions(request as Request, new ServerResponse(request) as Response, (error?: unknown) => {
      if (error instanceof Error) reject(error)
      else resolve((request as Request).session.user)
    })
  })
}

const server = app.listen(8080, '127.0.0.1')
broker.attach(server, {
  path: '/mqtt',
  origin: 'http://127.0.0.1:8080', // the pages that may use the cookie
  async verify (request) {
    const user = await userOf(request)
    return user === undefined ? 401 : { identity: user }
  },
})

process.once('SIGTERM', () => {
  server.close()
  void broker.close() // ends the connections
})
