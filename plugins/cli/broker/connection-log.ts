import { reasonCodeName, type ClientInfo, type ConnectionInfo, type Hooks, type Logger } from '../../../lib/index.ts'

function aboutConnection ({ id, remoteAddress, remotePort, listener }: ConnectionInfo): object {
  return { connection: id, address: remoteAddress, port: remotePort, listener }
}

function aboutClient ({ clientIdentifier, username, connection }: ClientInfo): object {
  return { clientIdentifier, username, ...aboutConnection(connection) }
}

/** A line for each connection that begins or ends. */
export function connectionLog (logger: Logger): Pick<Hooks, 'connected' | 'disconnected' | 'refused'> {
  return {
    connected: ({ client, sessionPresent }) => {
      logger.debug({ ...aboutClient(client), protocolVersion: client.protocolVersion, sessionPresent }, 'connected')
    },
    disconnected: ({ client, reasonCode, error }) => {
      logger.debug({ ...aboutClient(client), reason: reasonCodeName(reasonCode), ...(error && { code: error.code, detail: error.message }) }, 'disconnected')
    },
    refused: ({ connection, error }) => {
      logger.debug({ ...aboutConnection(connection), reason: reasonCodeName(error.reasonCode), code: error.code, detail: error.message }, 'refused')
    },
  }
}
