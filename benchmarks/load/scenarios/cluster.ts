import { assemble, settle, start, type Parties } from '../flow.ts'
import { pause, type Load } from '../load.ts'
import { RedisWatch, type RedisUsage } from '../measures/redis.ts'
import { usageOf } from '../measures/usage.ts'
import { partiesOf } from './flow.ts'

/** Seconds until nodes that tell each other of subscriptions after SUBACK have done so. */
const settling = 0.5

/** Publishers at one node, subscribers at another: what goes through Redis for each message, and how long it takes. */
export async function clusterScenario (load: Load): Promise<Record<string, unknown>> {
  const { warmup, redisPort, rate } = load.options
  const parties = await assemble(load, partiesOf(load))
  await pause(settling)
  const idle = rate > 0 ? await commandsSent(load) : none
  const stop = start(load, parties)
  await pause(warmup)
  const watch = await RedisWatch.open(redisPort)
  const figures = await measure(load, parties, watch)
  const counted = rate > 0 ? await count(load, parties, idle) : {}
  stop()
  watch.close()
  await settle(load, parties)
  return { ...figures, ...counted, ...load.latencies() }
}

async function measure (load: Load, { flow: { fan } }: Parties, watch: RedisWatch): Promise<Record<string, number>> {
  const { seconds, pid, subscriberPid } = load.options
  const before = { redis: await watch.usage(), cpu: usageOf(subscriberPid).cpuSeconds }
  const [from, to] = await load.measure(seconds)
  const after = { redis: await watch.usage(), cpu: usageOf(subscriberPid).cpuSeconds }
  const deliveries = to.received - from.received
  const publisherCpu = to.broker.cpuSeconds - from.broker.cpuSeconds
  const subscriberCpu = after.cpu - before.cpu
  const nodesCpu = pid === subscriberPid ? subscriberCpu : publisherCpu + subscriberCpu
  return {
    ...load.figures(from, to, deliveries),
    publisherCpuUs: publisherCpu * 1e6 / (deliveries / fan), subscriberCpuUs: subscriberCpu * 1e6 / deliveries,
    clusterCpuUs: (nodesCpu + after.redis.cpuSeconds - before.redis.cpuSeconds) * 1e6 / deliveries,
    ...redisFigures(before.redis, after.redis, deliveries, fan),
  }
}

function redisFigures (before: RedisUsage, after: RedisUsage, deliveries: number, fan: number): Record<string, number> {
  const used = (figure: keyof RedisUsage): number => after[figure] - before[figure]
  const messages = deliveries / fan
  return {
    redisCpuUs: used('cpuSeconds') * 1e6 / deliveries, perRedisCore: deliveries / used('cpuSeconds'),
    commands: used('commands') / messages, scripts: used('scripts') / messages,
    redisBytesIn: used('bytesIn') / messages, redisBytesOut: used('bytesOut') / messages,
  }
}

/** Commands for each message, beside those that nodes send all the time. */
async function count (load: Load, { flow: { fan } }: Parties, idle: Commands): Promise<Record<string, number>> {
  const { fromClients, fromScripts, received } = await commandsSent(load)
  const messages = received / fan
  return {
    fromClients: (fromClients - idle.fromClients) / messages, fromScripts: (fromScripts - idle.fromScripts) / messages,
    idleCommands: idle.fromClients / load.options.seconds,
  }
}

interface Commands { readonly fromClients: number, readonly fromScripts: number, readonly received: number }

const none: Commands = { fromClients: 0, fromScripts: 0, received: 0 }

/** Which commands come from clients only Redis' MONITOR tells; it would disturb what is measured. */
async function commandsSent ({ totals, options: { redisPort, seconds } }: Load): Promise<Commands> {
  const watch = await RedisWatch.open(redisPort)
  watch.monitor()
  await pause(settling)
  const [[sent, scripted], received] = [watch.counts, totals.received]
  await pause(seconds)
  const [sentThen, scriptedThen] = watch.counts
  watch.close()
  return { fromClients: sentThen - sent, fromScripts: scriptedThen - scripted, received: totals.received - received }
}
