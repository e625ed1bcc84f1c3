import { optionInvalid, type Broker, type Hooks } from '../../lib/index.ts'

/**
 * The broker as a plugin inside a combinator has it: the hooks that it registers while it is set up, or later, go to the combinator, or
 * they would get round it. It cannot add plugins, since those would.
 */
export function scopedBroker<Data> (broker: Broker<Data>, hook: (hooks: Hooks<Data>) => () => void): Broker<Data> {
  const use = (): never => { throw optionInvalid('plugins', 'given to the broker, or to the combinator', 'one that a plugin inside a combinator adds') }
  return new Proxy(broker, {
    get (target, name) {
      if (name === 'hook') return hook
      if (name === 'use') return use
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) as unknown : value
    },
  })
}
