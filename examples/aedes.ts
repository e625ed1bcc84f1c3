// A program that was written for Aedes: only the name of the package has changed. Try it:
//   mosquitto_sub -u ada -P 'correct horse' -t 'hall/#' -v
import { createServer } from 'node:net'
import { Aedes } from 'myelin/aedes'

const aedes = await Aedes.createBroker({
  id: 'house',
  authenticate (_client, username, password, callback) {
    if (username === 'ada' && password?.toString() === 'correct horse') callback(null, true)
    else callback(Object.assign(new Error('wrong password'), { returnCode: 4 }), false)
  },
})

aedes.authorizePublish = (client, packet, callback) => {
  callback(packet.topic.endsWith('/secret') ? new Error(`${String(client.id)} may not publish to ${packet.topic}`) : null)
}
aedes.on('clientReady', client => { console.log(`${String(client.id)} is ready`) })
aedes.on('clientError', (_client, error) => { if (error.message !== 'wrong password') console.log(error.message) })
aedes.on('closed', () => { console.log('closed') })
aedes.subscribe('hall/+', (packet, callback) => {
  console.log(`${packet.topic.slice('hall/'.length)} says ${packet.payload.toString()}`)
  callback()
})

const server = createServer(aedes.handle).listen(1883, '127.0.0.1')
process.once('SIGTERM', () => {
  server.close()
  aedes.close()
})
