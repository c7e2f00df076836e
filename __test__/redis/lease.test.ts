/**
 * No stale fill (protocol.md §5). Each race has a test that fails without its cure; what makes it fail is said beside
 * it. The races are run three times: within one memory cache, over two caches on one Redis, and over two processes.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { type CacheCalls, openCache, openCacheInProcess } from '../support/redis-cache.ts'
import { inBytes, type Observer, RedisServer } from '../support/redis-server.ts'

const NOTHING = { value: null, lease: null, held: null }

let server: RedisServer
let observer: Observer

beforeAll(async () => {
  server = await RedisServer.start()
  observer = await server.observe()
})

afterAll(() => server?.stop())

beforeEach(async () => {
  await observer.flushAll()
})

type Options = NonNullable<Parameters<typeof openCache>[0]>

/** Two that use the same entries: a reader that fills, and another that reads or purges meanwhile. */
const pairs: { name: string; open: (options?: Options) => Promise<[CacheCalls, CacheCalls]> }[] = [
  {
    name: 'one memory cache',
    open: async (options) => {
      const cache = openCache(options)
      return [cache, cache]
    },
  },
  {
    name: 'two caches on one Redis',
    open: async (options) => [
      openCache({ ...options, redisUrl: server.url }),
      openCache({ ...options, redisUrl: server.url }),
    ],
  },
  {
    name: 'two processes on one Redis',
    open: async (options) => [
      openCache({ ...options, redisUrl: server.url }),
      await openCacheInProcess({ ...options, redisUrl: server.url }),
    ],
  },
]

async function takeLease(cache: CacheCalls, context: string, params = {}): Promise<string> {
  const found = await cache.lookup(context, params)
  expect(found).toEqual({ value: null, lease: expect.any(String), held: null })
  return found.lease as string
}

describe.each(pairs)('$name', ({ open }) => {
  test('the first to miss gets a lease, the next learns its token, and the fill serves both', async () => {
    const [reader, other] = await open()
    const lease = await takeLease(reader, 'user')
    expect(await other.lookup('user', {})).toEqual({ value: null, lease: null, held: lease })
    expect(await reader.lookup('user', {})).toEqual({ value: null, lease: null, held: lease })
    expect(await reader.put('user', {}, 'filled', { lease })).toBe(true)
    expect(await other.lookup('user', {})).toEqual({ value: 'filled', lease: null, held: null })
    expect(await other.get('user', {})).toBe('filled')
  })

  test('get and getBytes take no lease and see none', async () => {
    const [reader, other] = await open()
    expect(await reader.get('user', {})).toBe(null)
    const lease = await takeLease(other, 'user')
    expect(await reader.get('user', {})).toBe(null)
    expect(await reader.put('user', {}, 'filled', { lease })).toBe(true)
  })

  // Fails if a put with a lease stores without asking whether the lease stands: the reader's old value would stay.
  test.each([
    ['a scoped purge', (other: CacheCalls) => other.purge('user', { id: 1 })],
    ['a broad purge', (other: CacheCalls) => other.purge('user')],
    ['clear', (other: CacheCalls) => other.clear()],
  ])('%s between lookup and fill: nothing is stored', async (_, purge) => {
    const [reader, other] = await open()
    const lease = await takeLease(reader, 'user', { id: 1 })
    // A standing lease is an entry that goes.
    expect(await purge(other)).toBe(1)
    expect(await reader.put('user', { id: 1 }, 'stale', { lease })).toBe(false)
    expect(await other.get('user', { id: 1 })).toBe(null)
    // Nothing stands there at all: the next one may fill.
    await takeLease(other, 'user', { id: 1 })
  })

  // Fails with one token per client or per key: the old fill would pass for the new one.
  test('a lease that was purged away does not pass for the next one, of another or of its own', async () => {
    const [reader, other] = await open()
    const first = await takeLease(reader, 'user')
    await other.purge('user', {})
    const second = await takeLease(other, 'user')
    expect(second).not.toBe(first)
    expect(await reader.put('user', {}, 'stale', { lease: first })).toBe(false)
    // Nor has the refused fill disturbed the lease that stands.
    expect(await reader.lookup('user', {})).toEqual({ value: null, lease: null, held: second })
    expect(await other.put('user', {}, 'fresh', { lease: second })).toBe(true)
    expect(await reader.get('user', {})).toBe('fresh')

    await other.purge('user', {})
    const third = await takeLease(reader, 'user')
    await other.purge('user', {})
    const fourth = await takeLease(reader, 'user')
    expect(await reader.put('user', {}, 'stale', { lease: third })).toBe(false)
    expect(await reader.put('user', {}, 'fresh', { lease: fourth })).toBe(true)
    expect(new Set([first, second, third, fourth]).size).toBe(4)
  })

  // Fails if a lookup answered with a load that began before the purge: whoever waited for it would be given old data.
  test('who arrives after a purge shares no load that began before it', async () => {
    const [reader, other] = await open()
    const before = await takeLease(reader, 'user')
    expect((await other.lookup('user', {})).held).toBe(before)
    await other.purge('user', {})
    const after = await other.lookup('user', {})
    expect(after).toEqual({ value: null, lease: expect.any(String), held: null })
    expect(after.lease).not.toBe(before)
    expect(await reader.lookup('user', {})).toEqual({ value: null, lease: null, held: after.lease })
  })

  // Fails if a lease outlives its time, or if a fill stores where nothing stands any more.
  test('a lease that ran out stores nothing, and the next reader gets one', async () => {
    const [reader, other] = await open({ leaseMs: 100 })
    const expired = await takeLease(reader, 'user')
    await takeLease(reader, 'abandoned')
    await eventually('the lease runs out', async () => (await other.lookup('user', {})).held !== expired)
    expect(await reader.put('user', {}, 'late', { lease: expired })).toBe(false)
    expect(await reader.get('user', {})).toBe(null)
    await eventually('the other one ran out too', async () => (await other.lookup('abandoned', {})).lease !== null)
  })

  // Fails if a lease is not spent by its fill, or if it is looked for anywhere but at its own key.
  test('a lease fills once, and its own entry only', async () => {
    const [reader, other] = await open()
    const lease = await takeLease(reader, 'user', { id: 1 })
    const another = await takeLease(reader, 'user', { id: 2 })
    expect(await reader.put('user', { id: 2 }, 'x', { lease })).toBe(false)
    expect(await reader.put('user', { id: 3 }, 'x', { lease })).toBe(false)
    expect(await reader.put('users', { id: 1 }, 'x', { lease })).toBe(false)
    expect(await reader.put('user', { id: 1 }, 'x', { lease, userId: 1 })).toBe(false)
    expect(await reader.put('user', { id: 1 }, 'first', { lease })).toBe(true)
    expect(await reader.put('user', { id: 1 }, 'second', { lease })).toBe(false)
    expect(await other.get('user', { id: 1 })).toBe('first')
    expect((await other.lookup('user', { id: 2 })).held).toBe(another)
    expect(await other.get('user', { id: 3 })).toBe(null)
  })

  // Fails if a fill replaces whatever stands there: an unconditional write after the lookup is the newer one.
  test('a put without a lease wins over a standing lease', async () => {
    const [reader, other] = await open()
    const lease = await takeLease(reader, 'user')
    expect(await other.put('user', {}, 'newer')).toBe(true)
    expect(await reader.put('user', {}, 'stale', { lease })).toBe(false)
    expect(await reader.get('user', {})).toBe('newer')
    const second = await takeLease(reader, 'second')
    expect(await other.put('second', {}, 'newer', { lease: null })).toBe(true)
    expect(await reader.put('second', {}, 'stale', { lease: second })).toBe(false)
  })

  test('a fill too large to be stored gives its lease back, so that nobody waits for it', async () => {
    const [reader] = await open({ maxValueBytes: 10 })
    const lease = await takeLease(reader, 'user')
    expect(await reader.put('user', {}, 'x'.repeat(11), { lease })).toBe(false)
    expect(await takeLease(reader, 'user')).not.toBe(lease)
  })

  // Fails if taking a lease is not atomic: two readers would load at once, and which one's value stays is luck.
  test('of many that miss at once exactly one gets the lease', async () => {
    const [reader, other] = await open()
    for (let round = 0; round < 20; round += 1) {
      const lookups = Array.from({ length: 20 }, (_, index) => [reader, other][index % 2]?.lookup('user', { round }))
      const found = await Promise.all(lookups)
      const leases = found.flatMap((each) => each?.lease ?? [])
      expect(leases).toHaveLength(1)
      expect(found.filter((each) => each?.held === leases[0])).toHaveLength(19)
    }
  })

  /**
   * Two readers and two writers without any order between them. Whatever a read that begins after a purge returns must
   * be at least as new as that purge. Fails, nearly at once, without any one of the cures above.
   */
  test('no read after a purge is older than it, whatever the interleaving', async () => {
    const [one, two] = await open()
    const params = { id: 1 }
    let committed = 0
    let writersAtWork = 2
    let filled = 0

    async function write(cache: CacheCalls, isBroad: (count: number) => boolean) {
      for (let count = 0; count < 150; count += 1) {
        committed += 1
        const mine = committed
        await (isBroad(count) ? cache.purge('user') : cache.purge('user', params))
        const found = await cache.get('user', params)
        expect(found === null || Number(found) >= mine, `read ${found} after the purge of ${mine}`).toBe(true)
        await nextTurn()
      }
      writersAtWork -= 1
    }

    async function read(cache: CacheCalls) {
      while (writersAtWork > 0) {
        const { lease } = await cache.lookup('user', params)
        const loaded = committed
        // The database takes its time to answer.
        await nextTurn()
        if (lease !== null) {
          filled += Number(await cache.put('user', params, `${loaded}`, { lease }))
        }
      }
    }

    await Promise.all([write(one, (count) => count % 5 === 0), write(two, () => false), read(one), read(two)])
    expect(filled).toBeGreaterThan(0)
  })
})

describe('on Redis', () => {
  const open = (options: Options = {}) => openCache({ redisUrl: server.url, ...options })

  test('a lease is a hash at the key with the one field `lease`, and goes by itself', async () => {
    const cache = open({ leaseMs: 5000 })
    const lease = await takeLease(cache, 'user')
    const key = cache.deriveKey('user', {})
    expect(await observer.type(key)).toBe('hash')
    expect(await observer.hGetAll(key)).toEqual({ lease })
    const left = await observer.pTTL(key)
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThanOrEqual(5000)
    await cache.put('user', {}, 'filled', { lease })
    expect(await observer.type(key)).toBe('string')
    expect(await observer.pTTL(key)).toBeGreaterThan(5000)
  })

  test('the default lease time is 10 s', async () => {
    const cache = open()
    await takeLease(cache, 'user')
    const left = await observer.pTTL(cache.deriveKey('user', {}))
    expect(left).toBeGreaterThan(5000)
    expect(left).toBeLessThanOrEqual(10_000)
  })

  test('a second lookup does not lengthen a lease', async () => {
    const [first, second] = [open({ leaseMs: 5000 }), open({ leaseMs: 60_000 })]
    await takeLease(first, 'user')
    await second.lookup('user', {})
    expect(await observer.pTTL(first.deriveKey('user', {}))).toBeLessThanOrEqual(5000)
  })

  test('reads without a lease leave nothing behind', async () => {
    const cache = open()
    await cache.get('user', {})
    await cache.getBytes('user', {})
    cache.peek('user', {})
    expect(await observer.dbSize()).toBe(0)
  })

  test('to a client that knows no leases a lease is never a value', async () => {
    const cache = open()
    await takeLease(cache, 'user')
    await expect(observer.get(cache.deriveKey('user', {}))).rejects.toThrow(/^WRONGTYPE/)
    expect(await cache.get('user', {})).toBe(null)
    // A lease met by a plain read is a miss and no failure of Redis.
    expect(cache.stats()).toMatchObject({ misses: 2, failedReads: 0 })
  })

  // Fails if the lease stands anywhere but at the entry's own key: who knows no leases would not revoke it.
  test.each([
    ['DEL', (key: string) => observer.del(key)],
    ['UNLINK', (key: string) => observer.unlink(key)],
    ['FLUSHDB', () => observer.flushDb()],
    ['EXPIRE 0', (key: string) => observer.expire(key, 0)],
    ['RENAME', (key: string) => observer.rename(key, 'elsewhere')],
  ])('a foreign %s revokes the lease', async (_, remove) => {
    const cache = open()
    const lease = await takeLease(cache, 'user')
    const key = cache.deriveKey('user', {})
    await remove(key)
    expect(await cache.put('user', {}, 'stale', { lease })).toBe(false)
    expect(await observer.exists(key)).toBe(0)
  })

  test('a foreign SET wins', async () => {
    const cache = open()
    const lease = await takeLease(cache, 'user')
    await observer.set(cache.deriveKey('user', {}), 'foreign')
    expect(await cache.put('user', {}, 'stale', { lease })).toBe(false)
    expect(await cache.get('user', {})).toBe('foreign')
  })

  test('a value that happens to be the token is not a lease', async () => {
    const cache = open()
    const lease = await takeLease(cache, 'user')
    await observer.set(cache.deriveKey('user', {}), lease)
    expect(await cache.put('user', {}, 'stale', { lease })).toBe(false)
    expect(await cache.lookup('user', {})).toEqual({ ...NOTHING, value: lease })
  })

  test('the first use of a lease after the server forgot its scripts works', async () => {
    const cache = open()
    const first = await takeLease(cache, 'user', { id: 1 })
    await observer.scriptFlush()
    const second = await takeLease(cache, 'user', { id: 2 })
    await observer.scriptFlush()
    expect(await cache.put('user', { id: 1 }, 'x', { lease: first })).toBe(true)
    await observer.scriptFlush()
    expect(await cache.put('user', { id: 2 }, 'x', { lease: second })).toBe(true)
    expect(cache.stats()).toMatchObject({ failedReads: 0, failedWrites: 0 })
  })

  test('a purge during a rotation revokes the lease under each secret', async () => {
    const oldSecret = 'the secret before the rotation, as long'
    const before = open({ secret: oldSecret })
    const now = open({ previousSecrets: [oldSecret] })
    const lease = await takeLease(before, 'user')
    expect(await now.purge('user', {})).toBe(1)
    expect(await before.put('user', {}, 'stale', { lease })).toBe(false)
  })

  test('large and binary values fill as they are', async () => {
    const cache = open({ commandTimeoutMs: 20_000 })
    const value = new Uint8Array(8 * 1024 * 1024).map((_, index) => (index * 7 + (index >> 9)) & 255)
    const lease = await takeLease(cache, 'user')
    expect(await cache.put('user', {}, value, { lease })).toBe(true)
    const stored = await inBytes(observer).get(cache.deriveKey('user', {}))
    expect(Buffer.compare(stored ?? Buffer.of(), value)).toBe(0)
  })
})

test('a memory cache counts a standing lease as an entry until it is filled or purged', async () => {
  const cache = openCache()
  const lease = await takeLease(cache, 'user')
  expect(cache.stats().entries).toBe(1)
  expect(cache.peek('user', {})).toBe(null)
  await cache.put('user', {}, 'x', { lease })
  expect(cache.stats().entries).toBe(1)
  expect(cache.peek('user', {})).toBe('x')
  expect(await cache.purge('user')).toBe(1)
  expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 })
})
