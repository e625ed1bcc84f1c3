import { createServer } from 'node:net'
import { createBroker } from 'myelin'

const broker = await createBroker()
createServer(broker.handle).listen(1883, '127.0.0.1')
console.log('MQTT on mqtt://127.0.0.1:1883')
