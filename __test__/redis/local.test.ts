import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Cache, CacheOptions } from '../../cache/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache, openCacheInProcess } from '../support/redis-cache.ts'
import { countCalls, type Observer, RedisServer } from '../support/redis-server.ts'

const LIVES_LONG = 3600

let server: RedisServer
let observer: Observer

beforeAll(async () => {
  server = await RedisServer.start({ config: ['enable-debug-command local'] })
  observer = await server.observe()
})

afterAll(() => server?.stop())

beforeEach(async () => {
  await observer.flushAll()
  await observer.configSet({ maxmemory: '0', 'maxmemory-policy': 'noeviction', 'tracking-table-max-keys': '1000000' })
  await observer.sendCommand(['DEBUG', 'SET-ACTIVE-EXPIRE', '1'])
})

const open = (options: Partial<CacheOptions> = {}) => openCache({ redisUrl: server.url, local: {}, ...options })

/** A cache with a copy of the one entry there is. */
async function openWithCopy(options: Partial<CacheOptions> = {}): Promise<Cache> {
  const cache = open(options)
  await cache.put('user', { id: 1 }, 'old', { ttl: LIVES_LONG })
  expect(await cache.get('user', { id: 1 })).toBe('old')
  expect(cache.peek('user', { id: 1 })).toBe('old')
  return cache
}

const isGone = (cache: Cache) => () => cache.peek('user', { id: 1 }) === null

describe('a copy', () => {
  test('is found by every kind of read, without a command', async () => {
    const cache = await openWithCopy()
    const before = [await countCalls(observer, 'mget'), await countCalls(observer, 'evalsha')]
    expect(await cache.get('user', { id: 1 })).toBe('old')
    expect(await cache.getBytes('user', { id: 1 })).toEqual(new TextEncoder().encode('old'))
    expect(await cache.lookup('user', { id: 1 })).toEqual({ value: 'old', lease: null, held: null })
    expect(await Promise.all([cache.get('user', { id: 1 }), cache.get('user', { id: 1 })])).toEqual(['old', 'old'])
    expect([await countCalls(observer, 'mget'), await countCalls(observer, 'evalsha')]).toEqual(before)
    const { hits, localHits, entries, bytes } = cache.stats()
    expect([hits, localHits, entries]).toEqual([7, 6, 1])
    expect(bytes).toBeGreaterThan(0)
  })

  test.each<[string, string | null, (cache: Cache) => Promise<unknown>]>([
    ['a put', 'new', (cache) => cache.put('user', { id: 1 }, 'new')],
    ['a put of too large a value', null, (cache) => cache.put('user', { id: 1 }, 'x'.repeat(1_001))],
    ['a purge', null, (cache) => cache.purge('user', { id: 1 })],
  ])('is no answer to what is asked after %s in the same turn', async (_, expected, change) => {
    const cache = await openWithCopy({ maxValueBytes: 1_000 })
    await cache.put('other', {}, 'copied')
    await cache.get('other', {})
    const changed = change(cache)
    expect(cache.peek('user', { id: 1 })).toBeNull()
    const reads = [cache.get('user', { id: 1 }), cache.lookup('user', { id: 1 }), cache.getBytes('user', { id: 1 })]
    const [text, found, bytes] = await Promise.all(reads)
    expect([text, (found as { value: unknown }).value]).toEqual([expected, expected])
    expect(bytes).toEqual(expected === null ? null : new TextEncoder().encode(expected))
    await changed
  })

  test.each<[string, (cache: Cache) => Promise<unknown>]>([
    ['a put', (cache) => cache.put('user', { id: 1 }, 'new')],
    ['a purge', (cache) => cache.purge('user', { id: 1 })],
  ])('is no answer to what is asked after %s was sent', async (_, change) => {
    const paused = await RedisServer.start()
    try {
      const cache = await openWithCopy({ redisUrl: paused.url, commandTimeoutMs: 60_000 })
      await paused.pause()
      const changed = change(cache)
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
      expect(cache.peek('user', { id: 1 })).toBeNull()
      paused.resume()
      await changed
    } finally {
      await paused.stop()
    }
  })

  test('of another entry answers beside a change', async () => {
    const cache = await openWithCopy()
    const changes = [cache.put('user', { id: 2 }, 'x'), cache.purge('user', { id: 3 }), cache.purge('other')]
    expect(cache.peek('user', { id: 1 })).toBe('old')
    await Promise.all(changes)
  })

  test('is kept of what each kind of read brings, one by one and together', async () => {
    const cache = open()
    const ids = [0, 1, 2, 3, 4, 5]
    for (const id of ids) await cache.put('user', { id }, `value ${id}`)
    await cache.get('user', { id: 0 })
    await cache.getBytes('user', { id: 1 })
    await cache.lookup('user', { id: 2 })
    await Promise.all([
      cache.get('user', { id: 9 }),
      cache.get('user', { id: 3 }),
      cache.getBytes('user', { id: 4 }),
      cache.lookup('user', { id: 5 }),
    ])
    expect(ids.map((id) => cache.peek('user', { id }))).toEqual(ids.map((id) => `value ${id}`))
  })

  test('is not kept where there is nothing or a lease', async () => {
    const cache = open()
    await cache.lookup('user', { id: 1 })
    await cache.get('user', { id: 1 })
    await cache.get('user', { id: 2 })
    expect(cache.stats().entries).toBe(0)
  })

  test('that is not text rejects every read as text, alone and beside others', async () => {
    const cache = open()
    await cache.put('user', { id: 1 }, new Uint8Array([0xff]))
    expect(await cache.getBytes('user', { id: 1 })).toEqual(new Uint8Array([0xff]))
    const codeOf = (read: Promise<unknown>) => read.catch((error) => error.code)
    const alone = await codeOf(cache.get('user', { id: 1 }))
    const [, ...beside] = await Promise.all([
      cache.get('user', { id: 2 }),
      codeOf(cache.get('user', { id: 1 })),
      codeOf(cache.lookup('user', { id: 1 })),
    ])
    expect([alone, ...beside]).toEqual(new Array(3).fill('ERR_MIZAN_VALUE_ENCODING'))
  })

  test('is not kept with `local: false`', async () => {
    const cache = open({ local: false })
    await cache.put('user', { id: 1 }, 'old')
    await cache.get('user', { id: 1 })
    expect(cache.peek('user', { id: 1 })).toBe(null)
    expect(cache.stats()).toMatchObject({ entries: 0, localHits: 0 })
  })

  test('is kept by default', async () => {
    expect(await openWithCopy({ local: undefined })).toBeDefined()
  })

  test('takes no more room than `maxBytes`', async () => {
    const cache = open({ local: { maxBytes: 50_000 } })
    for (let id = 0; id < 200; id += 1) {
      await cache.put('user', { id }, 'x'.repeat(1000))
      await cache.get('user', { id })
    }
    const { bytes, entries } = cache.stats()
    expect(bytes).toBeLessThanOrEqual(50_000)
    expect(entries).toBeGreaterThan(20)
  })
})

describe('before it resolves, an own call drops the copy:', () => {
  test.each<[string, (cache: Cache) => Promise<unknown>]>([
    ['a scoped purge', (cache) => cache.purge('user', { id: 1 })],
    ['a broad purge', (cache) => cache.purge('user')],
    ['clear', (cache) => cache.clear()],
    ['a put', (cache) => cache.put('user', { id: 1 }, 'new')],
    ['a put that is too large', (cache) => cache.put('user', { id: 1 }, 'x'.repeat(2000))],
  ])('%s', async (_, call) => {
    const cache = await openWithCopy({ maxValueBytes: 1000 })
    await call(cache)
    expect(cache.peek('user', { id: 1 })).toBe(null)
  })

  test('a purge that has to be kept', async () => {
    await observer.sendCommand(['ACL', 'SETUSER', 'nounlink', 'on', 'nopass', '~*', '+@all', '-unlink'])
    const cache = await openWithCopy({ redisUrl: server.url.replace('//', '//nounlink:any@') })
    await cache.purge('user', { id: 1 })
    expect(cache.stats().pendingPurges).toBe(1)
    expect(cache.peek('user', { id: 1 })).toBe(null)
    expect(await cache.get('user', { id: 1 })).toBe(null)
    await observer.sendCommand(['ACL', 'SETUSER', 'nounlink', '+unlink'])
    await eventually('the purge is delivered', () => cache.stats().pendingPurges === 0)
    expect(cache.peek('user', { id: 1 })).toBe(null)
  })

  test('close', async () => {
    const cache = await openWithCopy()
    await cache.close()
    expect(cache.peek('user', { id: 1 })).toBe(null)
    expect(cache.stats().entries).toBe(0)
  })

  test('and no read that was under way brings the old value back', async () => {
    const cache = open()
    const readers = new Array(8).fill(0)
    let purged = 0
    let version = 0
    let over = false
    const read = async () => {
      while (!over) {
        const atLeast = purged
        const found = await cache.get('user', { id: 1 })
        expect(found === null ? Number.POSITIVE_INFINITY : Number(found)).toBeGreaterThanOrEqual(atLeast)
        // Lets the writer have its turn between hits, which need none.
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    const write = async () => {
      for (version = 1; version <= 1000; version += 1) {
        await observer.set(cache.deriveKey('user', { id: 1 }), version, { EX: LIVES_LONG })
        await cache.purge('user', { id: 1 })
        purged = version
        await observer.set(cache.deriveKey('user', { id: 1 }), version, { EX: LIVES_LONG })
      }
      over = true
    }
    await Promise.all([write(), ...readers.map(read)])
    expect(cache.stats().localHits).toBeGreaterThan(0)
  })
})

describe('when Redis says so the copy goes:', () => {
  const key = (cache: Cache) => cache.deriveKey('user', { id: 1 })

  test.each<[string, (cache: Cache) => Promise<unknown>]>([
    ['deleted', (cache) => observer.del(key(cache))],
    ['overwritten', (cache) => observer.set(key(cache), 'new')],
    ['renamed', (cache) => observer.rename(key(cache), 'elsewhere')],
    ['expired', (cache) => observer.pExpire(key(cache), 1)],
    ['flushed', () => observer.flushAll()],
  ])('%s', async (_, change) => {
    const cache = await openWithCopy()
    await change(cache)
    await eventually('the copy is gone', isGone(cache))
    await eventually('the old value is not read', async () => (await cache.get('user', { id: 1 })) !== 'old')
  })

  test('purged by another process', async () => {
    const cache = await openWithCopy()
    const other = await openCacheInProcess({ redisUrl: server.url })
    expect(await other.purge('user', { id: 1 })).toBe(1)
    await eventually('the copy is gone', isGone(cache))
  })

  test('evicted to make room', async () => {
    const cache = await openWithCopy()
    await observer.configSet('maxmemory-policy', 'allkeys-random')
    await observer.configSet('maxmemory', '1')
    await eventually('the copy is gone', async () => {
      // Eviction happens when a command asks for memory; this one fails once nothing is left to evict.
      await observer.set('other', 'x').catch(() => {})
      return cache.peek('user', { id: 1 }) === null
    })
  })

  test('forgotten by a full tracking table', async () => {
    const cache = open()
    await observer.configSet('tracking-table-max-keys', '10')
    const ids = Array.from({ length: 100 }, (_, id) => id)
    for (const id of ids) {
      await cache.put('user', { id }, 'old')
      await cache.get('user', { id })
    }
    await eventually('only tracked copies are left', () => cache.stats().entries <= 10)
    for (const id of ids) await observer.set(cache.deriveKey('user', { id }), 'new')
    await eventually('no old copy is left', () => ids.every((id) => cache.peek('user', { id }) !== 'old'))
  })
})

test('a copy lives no longer than its entry, also where Redis is late to expire it', async () => {
  await observer.sendCommand(['DEBUG', 'SET-ACTIVE-EXPIRE', '0'])
  const cache = open()
  await cache.put('user', { id: 1 }, 'old', { ttl: 1 })
  await cache.put('user', { id: 2 }, 'old', { ttl: 1 })
  await Promise.all([cache.get('user', { id: 1 }), cache.get('user', { id: 2 })])
  await cache.lookup('user', { id: 1 })
  await eventually('both copies have expired', () => [1, 2].every((id) => cache.peek('user', { id }) === null))
  // Nobody has asked for them, so they are still there.
  expect(await observer.dbSize()).toBe(2)
})

test('an entry that never expires, which none of this protocol is, has no copy', async () => {
  const cache = open()
  await observer.set(cache.deriveKey('user', { id: 1 }), 'foreign')
  expect(await cache.get('user', { id: 1 })).toBe('foreign')
  expect(cache.peek('user', { id: 1 })).toBe(null)
})

describe('copies are trusted', () => {
  test('not beyond the connection that they were read on', async () => {
    const cache = await openWithCopy()
    await observer.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'])
    await eventually('the copies are gone', () => cache.stats().entries === 0)
    await eventually('there is a new connection', async () => (await cache.get('user', { id: 1 })) === 'old')
    await eventually('copies are kept again', () => cache.peek('user', { id: 1 }) === 'old')
    await observer.del(cache.deriveKey('user', { id: 1 }))
    await eventually('the copy is gone', isGone(cache))
  })

  test('for two seconds of a server that stands still, and not after', async () => {
    const paused = await RedisServer.start()
    try {
      const cache = await openWithCopy({ redisUrl: paused.url, commandTimeoutMs: 60_000 })
      await paused.pause()
      expect(cache.peek('user', { id: 1 })).toBe('old')
      await eventually('the copy is not trusted any more', isGone(cache))
      paused.resume()
      expect(await cache.get('user', { id: 1 })).toBe('old')
    } finally {
      await paused.stop()
    }
  })

  test('only where Redis tracks what is read', async () => {
    await observer.sendCommand(['ACL', 'SETUSER', 'untracked', 'on', 'nopass', '~*', '+@all', '-client|tracking'])
    const cache = open({ redisUrl: server.url.replace('//', '//untracked:any@') })
    await cache.put('user', { id: 1 }, 'old')
    expect(await cache.get('user', { id: 1 })).toBe('old')
    expect(cache.stats()).toMatchObject({ entries: 0, circuit: 'closed' })
  })
})
