import type { Test } from 'tap'
import * as crypto from 'node:crypto'
import { join } from 'node:path'
import type { ConnackPacket } from '../../../lib/packet/packets.ts'
import { hashPassword, passwordFile, type PasswordFile, type PasswordFileOptions } from '../../../plugins/password-file/index.ts'
import { connectPacket, PacketClient, startBroker, type TestBroker } from '../harness.ts'
import { MemoryLogger } from '../observe.ts'

/** One hash of each kind that needs no tool, all of the password `secret`. */
export const scryptHash = await hashPassword('secret')
export const pbkdf2Hash = crypto.pbkdf2Sync('secret', 'saltsaltsalt', 101, 64, 'sha512').toString('base64')
export const sha512Hash = crypto.createHash('sha512').update('secret').update('saltsaltsalt').digest('base64')
export const salt = Buffer.from('saltsaltsalt').toString('base64')
export const quick = `$7$101$${salt}$${pbkdf2Hash}`
export const quickOf = (password: string, text = 'saltsaltsalt', rounds = 101): string => `$7$${rounds}$${Buffer.from(text).toString('base64')}$${crypto.pbkdf2Sync(password, text, rounds, 64, 'sha512').toString('base64')}`

export interface Setup extends TestBroker { readonly plugin: PasswordFile, readonly path: string, readonly logger: MemoryLogger }

export async function start (t: Test, content: string, options: Partial<PasswordFileOptions> = {}): Promise<Setup> {
  const path = join(t.testdir({ users: content }), 'users')
  const plugin = passwordFile({ path, ...options })
  const logger = new MemoryLogger()
  return { ...await startBroker(t, { plugins: [plugin], logger }), plugin, path, logger }
}

/** Waits for what the file system and the threads of the pool take their time for. */
async function until (isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(resolve => { setImmediate(resolve) })
}

/** Sends CONNECT and waits for the CONNACK. */
export async function login ({ broker }: TestBroker, username: string | undefined, password: string | Buffer | undefined, clientIdentifier = 'client'): Promise<[PacketClient, number | undefined]> {
  const client = new PacketClient(broker, 5)
  client.send(connectPacket({ clientIdentifier, username, password: password === undefined ? undefined : Buffer.from(password) }))
  await until(() => client.received.length > 0 || client.isEnded)
  const connack = client.received.shift() as ConnackPacket | undefined
  return [client, connack?.reasonCode]
}

export async function answerTo (setup: TestBroker, username: string | undefined, password: string | Buffer | undefined): Promise<number | undefined> {
  const [client, answer] = await login(setup, username, password, '')
  await client.vanish()
  return answer
}
