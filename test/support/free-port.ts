// Loaded before an example: whatever fixed port it listens on, it gets a free one, and the test is told which.
import { Server, type AddressInfo } from 'node:net'

type Listen = (this: Server, ...where: unknown[]) => Server

const listen = Object.getOwnPropertyDescriptor(Server.prototype, 'listen')?.value as Listen

/** Of `listen(1883)`, or `listen({ port: 1883 })` as Fastify has it. */
function portOf (where: unknown): unknown {
  return typeof where === 'object' && where !== null && 'port' in where ? where.port : typeof where === 'number' ? where : undefined
}

Object.defineProperty(Server.prototype, 'listen', {
  value (this: Server, ...where: unknown[]) {
    const wanted = portOf(where[0])
    if (wanted === undefined) return listen.apply(this, where) // at a path, as stores do that are in use
    this.once('listening', () => { process.send?.({ wanted, port: (this.address() as AddressInfo).port }) })
    return listen.call(this, 0, '127.0.0.1')
  },
})
// The test is who ends it, not the channel to the test.
process.channel?.unref()
