import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Cache } from '../../cache/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache } from '../support/redis-cache.ts'
import { countCalls, type Observer, RedisServer } from '../support/redis-server.ts'

/** So many foreign keys make a pass last long enough for others to act during it. */
const FOREIGN_KEYS = 300_000

let server: RedisServer
let observer: Observer

beforeAll(async () => {
  server = await RedisServer.start({ config: ['enable-debug-command local'] })
  observer = await server.observe()
  await observer.sendCommand(['DEBUG', 'POPULATE', `${FOREIGN_KEYS}`, 'foreign', '1'])
})

afterAll(() => server?.stop())

beforeEach(async () => {
  await observer.eval("for _, key in ipairs(redis.call('KEYS', 'ctx:*')) do redis.call('DEL', key) end")
  await observer.configResetStat()
})

const open = () => openCache({ redisUrl: server.url })

async function store(cache: Cache, context: string, count: number): Promise<void> {
  const stored = await Promise.all(Array.from({ length: count }, (_, id) => cache.put(context, { id }, `${id}`)))
  expect(stored.every((each) => each)).toBe(true)
}

async function countStored(cache: Cache, context: string, count: number): Promise<number> {
  const values = await Promise.all(Array.from({ length: count }, (_, id) => cache.get(context, { id })))
  return values.filter((value) => value !== null).length
}

/** A promise, and whether it is still open. */
function watch<T>(promise: Promise<T>): { promise: Promise<T>; isOpen: () => boolean } {
  let open = true
  const watched = promise.finally(() => {
    open = false
  })
  return { promise: watched, isOpen: () => open }
}

/** Begins a broad purge and waits until the server has met its first SCAN. */
async function beginPurge(cache: Cache, context: string): Promise<ReturnType<typeof watch<number>>> {
  const before = await countCalls(observer, 'scan')
  const purge = watch(cache.purge(context))
  await eventually('the pass has begun', async () => (await countCalls(observer, 'scan')) > before)
  return purge
}

describe('sharing', () => {
  test.each([
    ['of one context', () => 'user'],
    ['of twenty contexts', (index: number) => `user${index}`],
  ])('twenty purges at once %s cost two passes', async (_, contextOf) => {
    const cache = open()
    await cache.purge('user')
    const onePass = await countCalls(observer, 'scan')
    expect(onePass).toBeGreaterThan(100)
    await Promise.all(Array.from({ length: 20 }, (_, index) => store(cache, contextOf(index), 5)))
    await observer.configResetStat()

    await Promise.all(Array.from({ length: 20 }, (_, index) => cache.purge(contextOf(index))))

    // The foreign keys alone set what a pass costs, give or take a page.
    expect(await countCalls(observer, 'scan')).toBeLessThanOrEqual(2 * onePass + 2)
    expect(await observer.dbSize()).toBe(FOREIGN_KEYS)
  })

  test('each of several contexts at once is told its own count, and a bystander keeps its entries', async () => {
    const cache = open()
    const counts = [1, 20, 300, 0, 40]
    await Promise.all(counts.map((count, index) => store(cache, `context${index}`, count)))
    await store(cache, 'bystander', 30)
    expect(await Promise.all(counts.map((_, index) => cache.purge(`context${index}`)))).toEqual(counts)
    expect(await observer.dbSize()).toBe(FOREIGN_KEYS + 30)
    expect(await countStored(cache, 'bystander', 30)).toBe(30)
    expect(await cache.purge('bystander')).toBe(30)
  })

  test('clear and purges at once leave nothing of this protocol and all of the rest', async () => {
    const cache = open()
    await store(cache, 'user', 100)
    await store(cache, 'order', 100)
    await Promise.all([cache.purge('user'), cache.clear(), cache.purge('order'), cache.clear()])
    expect(await observer.dbSize()).toBe(FOREIGN_KEYS)
  })

  test('reads and writes are served while a pass runs', async () => {
    const cache = open()
    await store(cache, 'order', 10)
    const purge = await beginPurge(cache, 'user')
    expect(await countStored(cache, 'order', 10)).toBe(10)
    expect(purge.isOpen()).toBe(true)
    await purge.promise
    await cache.purge('order')
  })
})

describe('what is stored while a pass runs', () => {
  // Fails if a purge joins the pass that runs: where that pass has been it does not come again.
  test('a purge is not served by a pass that began before it', async () => {
    const cache = open()
    const first = await beginPurge(cache, 'user')
    await store(cache, 'user', 100)
    expect(first.isOpen()).toBe(true)

    const second = await cache.purge('user')

    expect(await countStored(cache, 'user', 100)).toBe(0)
    expect((await first.promise) + second).toBe(100)
  })

  // The same with another context's pass: one that is queued may serve several, the one that runs may not.
  test('nor by one that began for another context', async () => {
    const cache = open()
    const first = await beginPurge(cache, 'order')
    await store(cache, 'user', 100)
    const others = [cache.purge('order'), cache.purge('user')]
    expect(first.isOpen()).toBe(true)
    expect(await Promise.all(others)).toEqual([0, 100])
  })

  // Fails if the key were absent for a moment between lease and value, or if the pass looked at values only: SCAN
  // promises to return what stood from its beginning to its end.
  test('an entry filled through a lease that was taken before is gone afterwards', async () => {
    const reader = open()
    const cache = open()
    const COUNT = 500
    const leases = await Promise.all(
      Array.from({ length: COUNT }, async (_, id) => (await reader.lookup('user', { id })).lease),
    )
    const purge = await beginPurge(cache, 'user')
    const filled = await Promise.all(leases.map((lease, id) => reader.put('user', { id }, 'stale', { lease })))
    expect(purge.isOpen()).toBe(true)
    // The pass had not been everywhere yet, so that some fills came before it.
    expect(filled).toContain(true)

    expect(await purge.promise).toBe(COUNT)

    expect(await countStored(cache, 'user', COUNT)).toBe(0)
    expect(await observer.dbSize()).toBe(FOREIGN_KEYS)
  })
})
