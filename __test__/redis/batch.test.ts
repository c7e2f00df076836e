import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { openCache } from '../support/redis-cache.ts'
import { countCalls, type Observer, RedisServer } from '../support/redis-server.ts'

let server: RedisServer
let observer: Observer

beforeAll(async () => {
  server = await RedisServer.start()
  observer = await server.observe()
})

afterAll(() => server?.stop())

beforeEach(async () => {
  await observer.flushAll()
  await observer.configResetStat()
})

/** What reads find that all begin before Redis answers the first of them, which it does once they have `begun`. */
async function whileRedisStands<T>(read: () => Promise<T>[], begun: () => boolean = () => true): Promise<T[]> {
  await server.pause()
  try {
    const reads = read()
    await new Promise((resolve) => setImmediate(resolve))
    await eventually('the reads have begun', begun)
    server.resume()
    return await Promise.all(reads)
  } finally {
    server.resume()
  }
}

const open = (options: Parameters<typeof openCache>[0] = {}) =>
  openCache({ redisUrl: server.url, commandTimeoutMs: 20_000, ...options })
const ids = Array.from({ length: 300 }, (_, id) => id)

test('reads of one turn are one command for each 128 of them', async () => {
  const cache = open()
  await Promise.all(ids.map((id) => cache.put('user', { id }, `value ${id} ü`)))
  const expected = [...ids.map((id) => `value ${id} ü`), null]
  expect(await whileRedisStands(() => [...ids, -1].map((id) => cache.get('user', { id })))).toEqual(expected)
  expect(await countCalls(observer, 'mget')).toBe(3)
})

test('reads that a turn begins after it waited, as requests do, go together too', async () => {
  const cache = open()
  await cache.put('user', {}, 'x')
  const request = async (): Promise<string | null> => {
    await Promise.resolve()
    await Promise.resolve()
    return cache.get('user', {})
  }
  expect(await whileRedisStands(() => ids.map(request))).toEqual(ids.map(() => 'x'))
  expect(await countCalls(observer, 'mget')).toBe(3)
})

test('each kind of read is given its own kind of answer', async () => {
  const cache = open()
  await cache.put('user', { id: 1 }, 'x')
  await cache.put('user', { id: 2 }, new Uint8Array([0xff]))
  const [text, none, bytes, lookup, empty, ...failed] = await Promise.allSettled([
    cache.get('user', { id: 1 }),
    cache.get('user', { id: 3 }),
    cache.getBytes('user', { id: 2 }),
    cache.lookup('user', { id: 1 }),
    cache.lookup('user', { id: 3 }),
    cache.get('user', { id: 2 }),
    cache.lookup('user', { id: 2 }),
  ])
  expect([text, none, bytes, lookup]).toEqual([
    { status: 'fulfilled', value: 'x' },
    { status: 'fulfilled', value: null },
    { status: 'fulfilled', value: new Uint8Array([0xff]) },
    { status: 'fulfilled', value: { value: 'x', lease: null, held: null } },
  ])
  expect(empty).toMatchObject({ status: 'fulfilled', value: { value: null, lease: expect.any(String), held: null } })
  expect(failed.map((it) => it.status === 'rejected' && it.reason.code)).toEqual([
    'ERR_MIZAN_VALUE_ENCODING',
    'ERR_MIZAN_VALUE_ENCODING',
  ])
})

test('of many lookups of one entry one is given the lease, and the others are told of it', async () => {
  const cache = open()
  const found = await whileRedisStands(() => ids.map(() => cache.lookup('user', {})))
  const [lease] = found.flatMap(({ lease }) => lease ?? [])
  expect(lease).toBeDefined()
  expect(found.filter(({ lease }) => lease !== null)).toHaveLength(1)
  expect(found.filter(({ held }) => held === lease)).toHaveLength(ids.length - 1)
  expect(await cache.put('user', {}, 'x', { lease: lease ?? null })).toBe(true)
})

test('each of many entries that are missing has a lease of its own', async () => {
  const cache = open()
  const found = await Promise.all(ids.map((id) => cache.lookup('user', { id })))
  expect(new Set(found.map(({ lease }) => lease)).size).toBe(ids.length)
  // No more than 32 by one command.
  expect(await countCalls(observer, 'evalsha')).toBeLessThan(20)
  const stored = found.map(({ lease }, id) => cache.put('user', { id }, `${id}`, { lease }))
  expect(await Promise.all(stored)).not.toContain(false)
})

test('where the last lookups were missing, the next are not read before they are leased, until they are there', async () => {
  const cache = open()
  const lookUp = () =>
    whileRedisStands(
      () => ids.map((id) => cache.lookup('user', { id })),
      () => cache.stats().inFlight === ids.length,
    )
  await lookUp()
  await observer.flushAll()
  await observer.configResetStat()
  const leases = (await lookUp()).map(({ lease }) => lease)
  expect(new Set(leases).size).toBe(ids.length)
  expect(await countCalls(observer, 'mget')).toBe(0)
  await Promise.all(leases.map((lease, id) => cache.put('user', { id }, `${id}`, { lease })))
  expect((await lookUp()).map(({ value }) => value)).toEqual(ids.map(String))
  expect(await countCalls(observer, 'mget')).toBe(0)
  await observer.configResetStat()
  expect((await lookUp()).map(({ value }) => value)).toEqual(ids.map(String))
  expect(await countCalls(observer, 'mget')).toBe(3)
  expect(await countCalls(observer, 'evalsha')).toBe(0)
})

test('of values that are stored together each is stored only where its own lease stands', async () => {
  const cache = open()
  const leases = (await Promise.all(ids.map((id) => cache.lookup('user', { id })))).map(({ lease }) => lease)
  await cache.purge('user', { id: 7 })
  await observer.configResetStat()
  const stored = await Promise.all(leases.map((lease, id) => cache.put('user', { id }, `value ${id}`, { lease })))
  expect(stored.flatMap((each, id) => (each ? [] : id))).toEqual([7])
  expect(await Promise.all(ids.map((id) => cache.get('user', { id })))).toEqual(
    ids.map((id) => (id === 7 ? null : `value ${id}`)),
  )
  // No more than 32 by one command.
  expect(await countCalls(observer, 'evalsha')).toBeLessThan(20)
})

test('large values that are stored together are stored, too', async () => {
  const cache = open()
  const few = ids.slice(0, 20)
  const leases = (await Promise.all(few.map((id) => cache.lookup('user', { id })))).map(({ lease }) => lease)
  const stored = leases.map((lease, id) => cache.put('user', { id }, `${id}`.repeat(50_000), { lease }))
  expect(await Promise.all(stored)).not.toContain(false)
  const found = await Promise.all(few.map((id) => cache.get('user', { id })))
  expect(found.map((value) => value?.length)).toEqual(few.map((id) => `${id}`.length * 50_000))
})

test('values that Redis has no memory for are refused, and counted as that', async () => {
  const cache = open()
  const leases = (await Promise.all(ids.map((id) => cache.lookup('user', { id })))).map(({ lease }) => lease)
  onTestFinished(async () => void (await observer.configSet({ maxmemory: '0' })))
  await observer.configSet({ maxmemory: '1', 'maxmemory-policy': 'noeviction' })
  const refused = await Promise.all(leases.map((lease, id) => cache.put('user', { id }, 'x', { lease })))
  expect(refused).not.toContain(true)
  expect(cache.stats()).toMatchObject({ failedWrites: ids.length, circuit: 'closed', reconnects: 0 })
  await observer.configSet({ maxmemory: '0' })
  expect(await cache.put('user', { id: 7 }, 'x', { lease: leases[7] ?? null })).toBe(true)
})

test('something else that stands at one of many keys is a miss of that key alone', async () => {
  const cache = open()
  await observer.lPush(cache.deriveKey('user', { id: 7 }), 'x')
  const found = await Promise.all(ids.map((id) => cache.lookup('user', { id })))
  expect(found.flatMap(({ lease }, id) => (lease === null ? id : []))).toEqual([7])
  expect(found[7]).toEqual({ value: null, lease: null, held: null })
  expect(cache.stats().failedReads).toBe(0)
})

test('a lease that stands at one of many keys is a miss of that key alone', async () => {
  const cache = open()
  await Promise.all(ids.map((id) => cache.put('user', { id }, 'x')))
  await cache.purge('user', { id: 7 })
  await cache.lookup('user', { id: 7 })
  const found = await Promise.all(ids.map((id) => cache.get('user', { id })))
  expect(found.flatMap((value, id) => (value === null ? id : []))).toEqual([7])
  expect(cache.stats().failedReads).toBe(0)
})

test('beyond maxInFlight the last of many reads miss, and the others do not', async () => {
  const cache = open({ maxInFlight: 100 })
  await cache.put('user', {}, 'x')
  const found = await whileRedisStands(
    () => ids.map(() => cache.get('user', {})),
    () => cache.stats().failedReads === 200,
  )
  expect(found).toEqual(ids.map((id) => (id < 100 ? 'x' : null)))
  expect(cache.stats()).toMatchObject({ failedReads: 200, inFlight: 0 })
})

test('reads that Redis does not answer end together, by one deadline', async () => {
  const cache = open({ commandTimeoutMs: 200 })
  await cache.put('user', {}, 'x')
  await server.pause()
  try {
    const found = await Promise.all(ids.map((id) => (id % 2 ? cache.get('user', {}) : cache.lookup('user', {}))))
    expect(new Set(found.map((it) => JSON.stringify(it)))).toEqual(
      new Set(['null', '{"value":null,"lease":null,"held":null}']),
    )
    expect(cache.stats().failedReads).toBe(ids.length)
  } finally {
    server.resume()
  }
  await eventually('the value is read again', async () => (await cache.get('user', {})) === 'x')
})

test('reads that are made before the cache is closed, in the same turn too, are answered; later ones are told', async () => {
  const cache = open()
  await cache.put('user', {}, 'x')
  let closed: Promise<void> | undefined
  let later: Promise<PromiseSettledResult<unknown>[]> | undefined
  const ends = await whileRedisStands(() => {
    const reads = ids.slice(0, 100).map(() => cache.get('user', {}))
    closed = cache.close()
    const calls = [cache.get('user', {}), cache.lookup('user', {}), cache.put('user', {}, 'y'), cache.purge('user', {})]
    later = Promise.allSettled<unknown>(calls)
    return reads
  })
  expect(new Set(ends)).toEqual(new Set(['x']))
  const rejection = { status: 'rejected', reason: expect.objectContaining({ code: 'ERR_MIZAN_CLOSED' }) }
  expect(await later).toEqual([rejection, rejection, rejection, rejection])
  await closed
})

test('a small cache in memory answers at once, also beside reads that are under way elsewhere', async () => {
  const remote = open()
  const memory = openCache()
  await memory.put('user', {}, 'x')
  const under = [remote.get('user', {}), remote.get('user', {})]
  const order: string[] = []
  void Promise.all(under).then(() => order.push('remote'))
  expect(await memory.get('user', {}).then((value) => order.push('memory') && value)).toBe('x')
  await Promise.all(under)
  await eventually('both have answered', () => order.length === 2)
  expect(order).toEqual(['memory', 'remote'])
})
