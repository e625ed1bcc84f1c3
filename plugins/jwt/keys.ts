import type { JWTVerifyGetKey } from 'jose'
import type { Broker } from '../../lib/index.ts'

/** The keys that tokens are verified with. */
export interface Keys {
  /** Changes whenever a key has come or gone, so that what was verified before is not believed any longer. */
  readonly version: number
  /** False when there are none, or they have not been confirmed for too long. */
  readonly areUsable: boolean
  /** Finds the key that the header of a token asks for: `alg` and `kid`, nothing else of it. Rejects when there is none. */
  readonly find: JWTVerifyGetKey
  setup (broker: Broker): Promise<void>
  /** Rejects, and changes nothing, when the keys cannot be had anew. */
  reload (): Promise<void>
  close (): void
}
