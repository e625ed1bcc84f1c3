/** Where the broker writes what an operator should know. The methods are those of pino, so `pino()` and Fastify's `app.log` fit. */
export interface Logger {
  debug (details: object, message: string): void
  info (details: object, message: string): void
  warn (details: object, message: string): void
  error (details: object, message: string): void
}

const nothing = (): void => undefined

/** Says nothing: the default. */
export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing }
