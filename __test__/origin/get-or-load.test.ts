import { describe, expect, test, vi } from 'vitest'
import type { Cache } from '../../cache/index.ts'
import { getOrLoad, type LoadCall, type OriginCache } from '../../origin/index.ts'
import { BACKENDS, deferred, onBackend, openCache } from './support.ts'

const PARAMS = { user_id: 5 }

/** A load that the test lets go on by name. */
function gatedLoad() {
  const gates: ReturnType<typeof deferred<string>>[] = []
  const load = vi.fn(() => {
    const gate = deferred<string>()
    gates.push(gate)
    return gate.promise
  })
  return { load, gates }
}

async function stored(cache: Cache, value: string): Promise<void> {
  await vi.waitFor(async () => expect(await cache.get('user', PARAMS)).toBe(value))
}

describe.each(BACKENDS)('within a process, on %s', (backend) => {
  const openCache = onBackend(backend)

  test('a miss is loaded and stored, a hit is not loaded', async () => {
    const cache = openCache()
    expect(await getOrLoad(cache, 'user', PARAMS, {}, () => 'loaded')).toBe('loaded')
    await stored(cache, 'loaded')
    expect(await getOrLoad(cache, 'user', PARAMS, {}, () => Promise.reject(new Error('a hit was loaded')))).toBe(
      'loaded',
    )
  })

  test('a thousand concurrent misses load once', async () => {
    const cache = openCache()
    const { load, gates } = gatedLoad()
    const answers = Promise.all(Array.from({ length: 1000 }, () => getOrLoad(cache, 'user', PARAMS, {}, load)))
    await vi.waitFor(() => expect(load).toHaveBeenCalled())
    gates[0]?.resolve('once')
    expect(new Set(await answers)).toEqual(new Set(['once']))
    expect(load).toHaveBeenCalledTimes(1)
  })

  test('a purge in the middle splits them: whoever comes after it is not given what was read before', async () => {
    const cache = openCache()
    const { load, gates } = gatedLoad()
    const callers = () => Promise.all(Array.from({ length: 500 }, () => getOrLoad(cache, 'user', PARAMS, {}, load)))

    const before = callers()
    await vi.waitFor(() => expect(load).toHaveBeenCalledTimes(1))
    await cache.purge('user', PARAMS)
    const after = callers()
    await vi.waitFor(() => expect(load).toHaveBeenCalledTimes(2))

    gates[1]?.resolve('new')
    expect(new Set(await after)).toEqual(new Set(['new']))
    await stored(cache, 'new')
    gates[0]?.resolve('old')
    expect(new Set(await before)).toEqual(new Set(['old']))
    expect(load).toHaveBeenCalledTimes(2)
    expect(await cache.get('user', PARAMS)).toBe('new')
  })

  test('a purge of the whole context splits them too, and the older load stores nothing', async () => {
    const cache = openCache()
    const { load, gates } = gatedLoad()
    const before = getOrLoad(cache, 'user', PARAMS, {}, load)
    await vi.waitFor(() => expect(load).toHaveBeenCalledTimes(1))
    await cache.purge('user')
    gates[0]?.resolve('old')
    expect(await before).toBe('old')
    expect(await getOrLoad(cache, 'user', PARAMS, {}, () => 'new')).toBe('new')
    await stored(cache, 'new')
  })

  test('users and revisions load apart', async () => {
    const cache = openCache()
    const read = (userId: string | number, rev: number) =>
      getOrLoad(cache, 'user', PARAMS, { userId, rev }, () => `${userId} at ${rev}`)
    expect(await Promise.all([read('ann', 0), read('bob', 0), read('ann', 1), read(0, 0)])).toEqual([
      'ann at 0',
      'bob at 0',
      'ann at 1',
      '0 at 0',
    ])
  })

  test('a failed load is told to all who waited for it, is not stored, and holds nobody up', async () => {
    const cache = openCache()
    const { load, gates } = gatedLoad()
    const answers = Promise.allSettled([1, 2, 3].map(() => getOrLoad(cache, 'user', PARAMS, {}, load)))
    await vi.waitFor(() => expect(load).toHaveBeenCalledTimes(1))
    gates[0]?.reject(new Error('the database is away'))
    for (const answer of await answers) {
      expect(answer).toMatchObject({ status: 'rejected', reason: { message: 'the database is away' } })
    }
    expect(load).toHaveBeenCalledTimes(1)
    // The lease was given back: the next lookup takes one of its own.
    await vi.waitFor(async () => expect((await cache.lookup('user', PARAMS)).lease).toBeTypeOf('string'))
  })

  test('a load without parameters that fails purges no other entry', async () => {
    const cache = openCache()
    await cache.put('user', PARAMS, 'kept')
    for (const params of [undefined, null, {}]) {
      await expect(getOrLoad(cache, 'user', params, null, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
      await vi.waitFor(async () => expect((await cache.lookup('user', {})).lease).toBeTypeOf('string'))
      await cache.purge('user', {})
    }
    expect(await cache.get('user', PARAMS)).toBe('kept')
  })

  test('a load is told its deadline, and given up at it', async () => {
    const cache = openCache()
    let told: LoadCall | undefined
    const before = Date.now()
    const answer = getOrLoad(cache, 'user', PARAMS, { loadMs: 20 }, (call) => {
      told = call
      return new Promise(() => {})
    })
    await expect(answer).rejects.toMatchObject({ status: 503, code: 'load_timeout' })
    expect(told?.signal.aborted).toBe(true)
    expect(told?.deadline).toBeGreaterThanOrEqual(before + 20)
    expect(await getOrLoad(cache, 'user', PARAMS, {}, () => 'next')).toBe('next')
  })

  test('a load that throws at once is a failed load', async () => {
    const cache = openCache()
    const load = () => {
      throw new Error('at once')
    }
    await expect(getOrLoad(cache, 'user', PARAMS, {}, load)).rejects.toThrow('at once')
  })

  test('an entry lives as long as it is told to', async () => {
    const cache = openCache()
    await getOrLoad(cache, 'user', PARAMS, { ttl: 0.2 }, () => 'short')
    await stored(cache, 'short')
    await vi.waitFor(async () => expect(await cache.get('user', PARAMS)).toBeNull())
  })
})

describe.each(BACKENDS)('while somebody else holds the lease, on %s', (backend) => {
  const openCache = onBackend(backend)

  // A lease taken by hand stands for another process: this one has no load under it.
  const never = () => Promise.reject(new Error('loaded in vain'))

  test('what is stored meanwhile is taken, without loading', async () => {
    const cache = openCache()
    const { lease } = await cache.lookup('user', PARAMS)
    const answers = Promise.all(
      Array.from({ length: 100 }, () => getOrLoad(cache, 'user', PARAMS, { waitMs: 20_000 }, never)),
    )
    await cache.put('user', PARAMS, 'from afar', { lease })
    expect(new Set(await answers)).toEqual(new Set(['from afar']))
  })

  test('after the wait one of the callers loads for all, and stores nothing', async () => {
    const cache = openCache()
    const { lease } = await cache.lookup('user', PARAMS)
    const load = vi.fn(async () => 'own')
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => getOrLoad(cache, 'user', PARAMS, { waitMs: 20 }, load)),
    )
    expect(new Set(answers)).toEqual(new Set(['own']))
    expect(load).toHaveBeenCalledTimes(1)
    expect(await cache.get('user', PARAMS)).toBeNull()
    expect(await cache.put('user', PARAMS, 'theirs', { lease })).toBe(true)
  })

  test('a purge ends the wait: the callers load under a lease of their own, and store', async () => {
    const cache = openCache()
    const { lease } = await cache.lookup('user', PARAMS)
    const load = vi.fn(async () => 'own')
    const answers = Promise.all(
      Array.from({ length: 100 }, () => getOrLoad(cache, 'user', PARAMS, { waitMs: 20_000 }, load)),
    )
    await cache.purge('user', PARAMS)
    expect(new Set(await answers)).toEqual(new Set(['own']))
    expect(load).toHaveBeenCalledTimes(1)
    await stored(cache, 'own')
    expect(await cache.put('user', PARAMS, 'theirs', { lease })).toBe(false)
  })

  test('who comes after a purge does not wait with those who came before it', async () => {
    const cache = openCache()
    await cache.lookup('user', PARAMS)
    const { load, gates } = gatedLoad()
    const before = getOrLoad(cache, 'user', PARAMS, { waitMs: 0 }, load)
    await vi.waitFor(() => expect(load).toHaveBeenCalledTimes(1))
    await cache.purge('user', PARAMS)
    expect(await getOrLoad(cache, 'user', PARAMS, {}, () => 'new')).toBe('new')
    gates[0]?.resolve('old')
    expect(await before).toBe('old')
  })
})

describe('without a working cache each caller loads for itself', () => {
  test.each<[string, () => OriginCache | Promise<OriginCache>, object]>([
    ['Redis is not to be had', () => openCache({ redisUrl: 'redis://127.0.0.1:1' }), PARAMS],
    ['the parameters have no canonical form', () => openCache(), { day: new Date(0) }],
    ['the cache was closed', closedCache, PARAMS],
  ])('%s', async (_case, open, params) => {
    const cache = await open()
    const load = vi.fn(async () => 'loaded')
    const read = () => getOrLoad(cache, 'user', params as never, {}, load)
    expect(await Promise.all([read(), read(), read()])).toEqual(['loaded', 'loaded', 'loaded'])
    expect(load).toHaveBeenCalledTimes(3)
  })

  test('a value that is too large is answered and not stored', async () => {
    const cache = openCache({ maxValueBytes: 8 })
    const load = vi.fn(async () => 'x'.repeat(9))
    expect(await getOrLoad(cache, 'user', PARAMS, {}, load)).toHaveLength(9)
    expect(await cache.get('user', PARAMS)).toBeNull()
  })

  async function closedCache() {
    const cache = openCache()
    await cache.close()
    return cache
  }
})
