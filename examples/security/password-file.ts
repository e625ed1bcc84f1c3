// Users and passwords in a file that `myelin passwd` or `mosquitto_passwd` has written. What changes there applies at once.
import { createServer } from 'node:net'
import { createBroker } from 'myelin'
import { passwordFile } from 'myelin/password-file'

const [path = 'users'] = process.argv.slice(2)
const broker = await createBroker({
  plugins: [passwordFile({ path, watch: true })],
  hooks: {
    connected: ({ client }) => { console.log(`${client.username ?? ''} is here`) },
    disconnected: ({ client, error }) => { console.log(`${client.username ?? ''} has gone${error === undefined ? '' : `: ${error.message}`}`) },
  },
})
createServer(broker.handle).listen(1883, '127.0.0.1')
