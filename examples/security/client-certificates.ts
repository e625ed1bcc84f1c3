// Devices that are who their certificates say, until those are revoked:
//   node examples/security/client-certificates.ts broker-cert.pem broker-key.pem devices-ca.pem devices-crl.pem
import { readFileSync } from 'node:fs'
import { createServer } from 'node:tls'
import { createBroker } from 'myelin'
import { clientCertificate } from 'myelin/client-certificate'

const [cert = 'cert.pem', key = 'key.pem', ca = 'ca.pem', crl = 'crl.pem'] = process.argv.slice(2)

const broker = await createBroker({
  plugins: [clientCertificate({ ca, crl, watch: true, clientIdentifier: true })],
  hooks: { authorizePublish: ({ client, topicName }) => topicName.startsWith(`devices/${client.username ?? ''}/`) },
})

const server = createServer({
  cert: readFileSync(cert),
  key: readFileSync(key),
  ca: readFileSync(ca),
  requestCert: true,
  rejectUnauthorized: false, // so that the plugin decides and the Client is told; true ends the handshake instead
}, broker.handle)
server.listen(8883, '127.0.0.1')
