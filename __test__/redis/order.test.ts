import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Cache } from '../../cache/index.ts'
import { openCache } from '../support/redis-cache.ts'
import { RedisServer } from '../support/redis-server.ts'

// Whoever does not wait for a call goes by the order: what was put before a purge was called must not outlive it.

let server: RedisServer

beforeAll(async () => {
  server = await RedisServer.start()
})

afterAll(() => server?.stop())

beforeEach(async () => {
  const observer = await server.observe()
  await observer.flushAll()
})

const open = (): Cache => openCache({ redisUrl: server.url, commandTimeoutMs: 20_000 })
const ids = Array.from({ length: 1000 }, (_, id) => id)
const old = 'old'.repeat(1000)
const nextTurn = () => new Promise<void>((resolve) => process.nextTick(() => process.nextTick(resolve)))

/** What stands at the ids of a context. */
const read = (cache: Cache, context: string) => Promise.all(ids.map((id) => cache.get(context, { id })))

test.each([
  ['answers', () => {}],
  ['stands still, until more is under way than its socket holds', () => server.pause()],
])('calls of many turns are done in the order in which they were made, where Redis %s', async (_, before) => {
  const cache = open()
  for (let round = 0; round < 5; round += 1) {
    const calls: Promise<unknown>[] = []
    await before()
    for (const id of ids) {
      calls.push(cache.put('purged', { id }, old), cache.put('replaced', { id }, old))
      await nextTurn()
      calls.push(cache.purge('purged', { id }), cache.put('replaced', { id }, 'new'))
      await nextTurn()
    }
    server.resume()
    await Promise.all(calls)
    expect(await read(cache, 'purged')).toEqual(ids.map(() => null))
    expect(await read(cache, 'replaced')).toEqual(ids.map(() => 'new'))
  }
})

test('the calls of a turn are not overtaken by those of the next, however many they are', async () => {
  const cache = open()
  for (let round = 0; round < 20; round += 1) {
    const calls: Promise<unknown>[] = ids.map((id) => cache.put('purged', { id }, 'old'))
    await nextTurn()
    calls.push(...ids.map((id) => cache.purge('purged', { id })))
    await Promise.all(calls)
    expect(await read(cache, 'purged')).toEqual(ids.map(() => null))
  }
})

test('calls that wait for the first connection have it in their order', async () => {
  for (let round = 0; round < 50; round += 1) {
    const cache = open()
    await Promise.all([cache.put('user', {}, 'old'), cache.purge('user')])
    expect(await cache.get('user', {})).toBeNull()
    await cache.close()
  }
})
