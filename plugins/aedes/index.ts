export { Aedes, type AedesEvents } from './aedes.ts'
export { AedesClient } from './client.ts'
export type { AedesHandlers, AedesOptions, AuthenticateError, Done } from './options.ts'
export type { AedesPublishPacket, ConnackPacket, ConnectPacket, PublishPacket, Subscription, Will } from './packets.ts'
