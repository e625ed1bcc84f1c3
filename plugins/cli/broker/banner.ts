import { resolve } from 'node:path'
import { authenticates } from '../options/access.ts'
import { asksWho, isAuthenticating, isLoopback } from '../options/settings.ts'
import type { Settings } from '../options/start-options.ts'

function access (settings: Settings): string {
  if (isAuthenticating(settings)) {
    if (authenticates(settings.access ?? [])) return 'Clients have to show who they are, as "access" in the configuration file wants it.'
    return asksWho(settings) ? 'Clients need a user name and a password.' : 'Clients need a certificate.'
  }
  if (!isLoopback(settings.host)) return 'Anyone who can reach this address may connect, without a password.'
  return 'Anonymous clients may connect, from this machine only. To open it: myelin --help, under Access.'
}

/** What the two commands need to find the broker; nothing where they look by themselves. */
function target (urls: readonly string[]): string {
  const url = urls.find(url => url.startsWith('mqtt://')) ?? urls.find(url => url.startsWith('ws://'))
  return url === undefined || url === 'mqtt://127.0.0.1:1883' ? '' : ` --url ${url.replace('//0.0.0.0', '//127.0.0.1').replace('//[::]', '//[::1]')}`
}

/** A URL as it may be shown. */
export function withoutPassword (url: string): string {
  if (!URL.canParse(url)) return 'Redis'
  const { protocol, host } = new URL(url)
  return `${protocol}//${host}`
}

/** What becomes of sessions and messages. */
function keeping ({ data, durability, redis }: Settings): string {
  if (redis !== undefined) return `Sessions and messages are kept in ${withoutPassword(redis)}, which makes all brokers with it one.`
  if (data === 'off') return 'Sessions and messages are kept in memory only (--data off).'
  return `Sessions and messages are kept in ${resolve(data)}; they survive ${durability === 'power' ? 'a power cut' : 'the process, not a power cut'}.`
}

/** What is printed when the broker listens. */
export function banner (version: string, urls: readonly string[], settings: Settings): string {
  const to = target(urls)
  return [
    `Myelin ${version}, an MQTT 3.1, 3.1.1 and 5.0 broker, listens at`,
    '',
    ...urls.map(url => `  ${url}`),
    '',
    access(settings),
    keeping(settings),
    'Try it, in two other terminals:',
    '',
    `  myelin sub${to} -v -t 'hello/#'`,
    `  myelin pub${to} -t hello/world -m 'Hello!'`,
    '',
    'Ctrl+C stops it.',
    '',
  ].join('\n')
}
