// MQTT over TLS, with client certificates in the place of passwords:
//   node examples/security/tls.ts broker-cert.pem broker-key.pem clients-ca.pem
import { readFileSync } from 'node:fs'
import { createServer } from 'node:tls'
import { createBroker } from 'myelin'

const [cert = 'cert.pem', key = 'key.pem', ca = 'ca.pem'] = process.argv.slice(2)

const broker = await createBroker({
  hooks: {
    authenticate: ({ connection: { peerCertificate, isPeerAuthorized } }) =>
      isPeerAuthorized && peerCertificate !== undefined && { allow: true, username: String(peerCertificate.subject.CN) },
    authorizePublish: ({ client, topicName }) => topicName.startsWith(`devices/${client.username ?? ''}/`),
  },
})

const server = createServer({
  cert: readFileSync(cert),
  key: readFileSync(key),
  ca: readFileSync(ca),
  requestCert: true,
  rejectUnauthorized: false, // so that `authenticate` decides and the Client is told why; true ends the handshake instead
}, broker.handle)
server.listen(8883, '127.0.0.1')
