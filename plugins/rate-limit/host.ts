import { silentLogger, systemClock, type Broker, type Clock, type Logger } from '../../lib/index.ts'

/** The broker that a {@link rateLimit} is part of, once it is. */
export class Host<Data> {
  broker: Broker<Data> | undefined = undefined

  get clock (): Clock { return this.broker?.clock ?? systemClock }

  get logger (): Logger { return this.broker?.logger ?? silentLogger }

  now (): number { return this.clock.now() }
}
