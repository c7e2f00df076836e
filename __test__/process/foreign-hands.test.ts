/** A cache goes on where others replace timers, pollute prototypes, load it twice, or block its thread. */

import { afterAll, beforeAll, expect, test } from 'vitest'
import { Program } from '../support/process-program.ts'
import { RedisServer } from '../support/redis-server.ts'

let server: RedisServer

beforeAll(async () => {
  server = await RedisServer.start()
})

afterAll(() => server?.stop())

const LEASED = '{"value":null,"held":null}'
const FOUND = '{"value":"y","lease":null,"held":null}'
const USED = `[true,"x",${LEASED},true,${FOUND},2,"closed"]`

async function run(done: string): Promise<string[]> {
  const { code, lines, complaint } = await new Program('foreign-hands-program.mjs', [server.url, done]).ended
  expect({ code, complaint }).toEqual({ code: 0, complaint: '' })
  return lines
}

test('timers, ticks and clocks that somebody replaced', async () => {
  expect(await run('fake timers')).toEqual([USED, USED])
})

test('a module that is loaded twice', async () => {
  expect(await run('two copies of the module')).toEqual(['false', USED, USED, 'shared'])
})

test('setters on the prototypes of objects and arrays', async () => {
  expect(await run('setters on prototypes')).toEqual([USED, 'true []'])
})

test('objects, functions and errors of another realm', async () => {
  expect(await run('another realm')).toEqual(['true x', 'null'])
})

const CLOSED = Array.from({ length: 4 }, () => 'ERR_MIZAN_CLOSED').join()

test('a module that is evaluated in another realm than its addon, as Jest does', async () => {
  expect(await run('a module of another realm')).toEqual([USED, CLOSED, CLOSED, CLOSED])
})

test('a call whose immediate was lost is sent all the same', async () => {
  expect(await run('lost immediates')).toEqual(['x,true,x'])
})

test('a thread that is blocked for longer than the deadline sees no timeout that Redis did not cause', async () => {
  expect(await run('a blocked thread')).toEqual(["Set(1) { 'x' } 0"])
})
