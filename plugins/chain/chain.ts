import { checkNames, checkText, type Plugin } from '../../lib/index.ts'
import { combination, type Combination } from './members.ts'

/** Options of {@link chain}. */
export interface ChainOptions<Data = unknown> {
  /** Told in errors and logs. */
  readonly name: string
  readonly plugins: readonly Plugin<Data>[]
}

/**
 * Makes one plugin of several: they are asked in the order of the list as if each had been given to the broker, set up in that order, closed in
 * the reverse one, and reloaded together.
 * @throws MqttError `MQTT_OPTION_INVALID` for an empty list, or two plugins with one name
 */
export function chain<Data = unknown> (options: ChainOptions<Data>): Combination<Data> {
  checkNames(options, ['name', 'plugins'])
  const { name, plugins } = options
  checkText('name', name)
  return combination(name, plugins, (broker, _member, hooks) => broker.hook(hooks))
}
