/** What a {@link rateLimit} has counted since it was made. */
export interface RateLimitMetrics {
  /** Addresses that are remembered now. */
  addresses: number
  /** Addresses and Clients that were forgotten to make room for others. */
  forgotten: number
  /** Connections closed because their address is banned. */
  connectionsBanned: number
  /** Connections closed because they came too fast. */
  connectionsTooFast: number
  /** Connections closed because their address has as many open as it may. */
  connectionsTooMany: number
  /** Logins that failed for wrong credentials, or none. */
  loginsFailed: number
  /** Addresses that were banned, by whomever. */
  bans: number
  /** Clients that were kept out for a while because they came and went too often. */
  clientsFlapping: number
  publishesDelayed: number
  publishesRefused: number
  /** Clients disconnected because they published too fast. */
  publishersDisconnected: number
}

/** What its parts count; the rest is asked of their ledgers. */
export type Counts = Omit<RateLimitMetrics, 'addresses' | 'forgotten'>

export function noCounts (): Counts {
  return {
    connectionsBanned: 0, connectionsTooFast: 0, connectionsTooMany: 0, loginsFailed: 0, bans: 0,
    clientsFlapping: 0, publishesDelayed: 0, publishesRefused: 0, publishersDisconnected: 0,
  }
}
