import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { openCache, openCacheInProcess, SECRET } from '../support/redis-cache.ts'
import { type Certificates, makeCertificates } from '../support/redis-certificates.ts'
import { countCalls, countConnections, inBytes, type Observer, RedisServer } from '../support/redis-server.ts'

const DAY = 86_400_000
const MEBIBYTE = 1024 * 1024
const HEX = '0123456789abcdef'.repeat(4)

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

function open(options: Parameters<typeof openCache>[0] = {}) {
  return openCache({ redisUrl: server.url, ...options })
}

/** Every key that Redis holds, as Latin-1, so that any bytes can be compared. */
async function keys(from: Observer = observer): Promise<string[]> {
  const found: string[] = []
  for await (const page of inBytes(from).scanIterator({ COUNT: 1000 })) {
    found.push(...page.map((key) => key.toString('latin1')))
  }
  return found.sort()
}

describe('entries', () => {
  test('a value is stored under its key, as it is, and read again', async () => {
    const cache = open()
    const params = { id: 5, filter: { tags: ['a', 'ü'] } }
    const scope = { userId: 'u1', rev: 2 }
    expect(await cache.get('user', params, scope)).toBe(null)
    expect(await cache.put('user', params, '{"name":"Ayşe 😀"}', scope)).toBe(true)

    expect(await observer.get(cache.deriveKey('user', params, scope))).toBe('{"name":"Ayşe 😀"}')
    expect(await cache.get('user', params, scope)).toBe('{"name":"Ayşe 😀"}')
    expect(await cache.getBytes('user', params, scope)).toEqual(new TextEncoder().encode('{"name":"Ayşe 😀"}'))
    expect(await cache.lookup('user', params, scope)).toEqual({ value: '{"name":"Ayşe 😀"}', lease: null, held: null })
    expect(await keys()).toEqual([cache.deriveKey('user', params, scope)])
  })

  test('params, user and rev each tell entries apart', async () => {
    const cache = open()
    const calls = [
      [{}, {}],
      [{ id: 1 }, {}],
      [{ id: 2 }, {}],
      [{ id: 1 }, { userId: 0 }],
      [{ id: 1 }, { userId: '' }],
      [{ id: 1 }, { rev: 1 }],
    ] as const
    for (const [index, [params, scope]] of calls.entries()) {
      expect(await cache.put('user', params, `${index}`, scope)).toBe(true)
    }
    for (const [index, [params, scope]] of calls.entries()) {
      expect(await cache.get('user', params, scope)).toBe(`${index}`)
    }
  })

  test('every byte and every size comes back, up to 8 MiB', async () => {
    const cache = open()
    const everyByte = Uint8Array.from({ length: 256 }, (_, index) => index)
    const large = new Uint8Array(8 * MEBIBYTE).map((_, index) => (index * 31 + (index >> 8)) & 255)
    for (const [id, value] of [new Uint8Array(), everyByte, large].entries()) {
      expect(await cache.put('bytes', { id }, value)).toBe(true)
      const read = await cache.getBytes('bytes', { id })
      expect(Buffer.compare(read ?? Buffer.from('nothing'), value)).toBe(0)
    }
    expect(await cache.put('bytes', { id: 'text' }, '')).toBe(true)
    expect(await cache.get('bytes', { id: 'text' })).toBe('')
    expect(await cache.lookup('bytes', { id: 'text' })).toEqual({ value: '', lease: null, held: null })
    await expect(cache.get('bytes', { id: 1 })).rejects.toMatchObject({ code: 'ERR_MIZAN_VALUE_ENCODING' })
  })

  // Fails if a store that is refused leaves the older value: that is no longer the answer of this call.
  test('a value over the bound is not stored, and what was there goes', async () => {
    const cache = open({ maxValueBytes: 1000 })
    expect(await cache.put('user', {}, 'ü'.repeat(500))).toBe(true)
    expect(await cache.put('user', {}, `${'ü'.repeat(500)}!`)).toBe(false)
    expect(await cache.get('user', {})).toBe(null)
    expect(cache.stats()).toMatchObject({ stores: 1, refusedStores: 1, failedWrites: 0 })

    const byDefault = open()
    expect(await byDefault.put('user', { id: 1 }, new Uint8Array(8 * MEBIBYTE + 1))).toBe(false)
    expect(await byDefault.put('user', { id: 1 }, new Uint8Array(8 * MEBIBYTE))).toBe(true)
  })

  test('the counters tell what happened', async () => {
    const cache = open()
    expect(cache.stats()).toMatchObject({ hits: 0, misses: 0, stores: 0, purges: 0, circuit: 'idle' })
    await cache.get('user', {})
    await cache.lookup('user', {})
    await cache.put('user', {}, 'x')
    await cache.get('user', {})
    await cache.getBytes('user', {})
    await cache.lookup('user', {})
    await cache.purge('user', {})
    await cache.purge('user')
    expect(cache.stats()).toMatchObject({
      hits: 3,
      misses: 2,
      stores: 1,
      refusedStores: 0,
      purges: 2,
      purgedEntries: 1,
      failedReads: 0,
      failedWrites: 0,
      pendingPurges: 0,
      timeouts: 0,
      inFlight: 0,
      circuit: 'closed',
    })
  })
})

describe('purges', () => {
  test('a scoped purge deletes its entry and no other, with one UNLINK', async () => {
    const cache = open()
    const scopes = [{}, { userId: 1 }, { rev: 1 }, { userId: 1, rev: 1 }]
    for (const scope of scopes) {
      await cache.put('user', { id: 1 }, 'x', scope)
    }
    await cache.put('user', { id: 2 }, 'x', { userId: 1, rev: 1 })
    await observer.configResetStat()

    expect(await cache.purge('user', { id: 1 }, { userId: 1, rev: 1 })).toBe(1)

    expect(await cache.get('user', { id: 1 }, { userId: 1, rev: 1 })).toBe(null)
    expect(await keys()).toHaveLength(4)
    expect(await countCalls(observer, 'unlink')).toBe(1)
    expect(await countCalls(observer, 'del')).toBe(0)
    expect(await cache.purge('user', { id: 1 }, { userId: 1, rev: 1 })).toBe(0)
  })

  test('{} is the entry of the call without parameters; undefined and null are the whole context', async () => {
    const cache = open()
    const fill = async () => {
      await cache.put('user', {}, 'x')
      await cache.put('user', { id: 1 }, 'x')
      await cache.put('user', {}, 'x', { userId: 1, rev: 7 })
    }
    await fill()
    expect(await cache.purge('user', {})).toBe(1)
    expect(await keys()).toHaveLength(2)
    for (const broad of [
      () => cache.purge('user'),
      () => cache.purge('user', undefined),
      () => cache.purge('user', null),
    ]) {
      await fill()
      expect(await broad()).toBe(3)
      expect(await keys()).toEqual([])
    }
    // What has no effect on a broad purge is no narrower one.
    await fill()
    expect(await cache.purge('user', null, { userId: 1, rev: 7 })).toBe(3)
  })

  /** Keys that begin like those of `user`, and belong to nobody here. */
  const foreign = [
    'ctx:user:meta',
    'ctx:user:',
    `ctx:user:${HEX}:${HEX}`,
    `ctx:user:${HEX.toUpperCase()}`,
    `ctx:user:${HEX.slice(1)}`,
    `ctx:user:${HEX}0`,
    `ctx:user:${HEX.slice(1)}g`,
    `ctx:user:${HEX.slice(1)}\n`,
    `ctx:user:${HEX}\n`,
    `ctx:user:${'*'.repeat(64)}`,
    `ctx:user:${'?'.repeat(64)}`,
    `ctx:user:${'\xff'.repeat(64)}`,
    `ctx:user:${'\x00'.repeat(64)}`,
    `ctx:USER:${HEX}`,
    `Ctx:user:${HEX}`,
    `xctx:user:${HEX}`,
    `ctx::${HEX}`,
    `ctx:*:${HEX}`,
    `ctx:[user]:${HEX}`,
    `ctx:us\\er:${HEX}`,
    `ctx:-user:${HEX}`,
    `ctx:us\xe9r:${HEX}`,
    `ctx:${'u'.repeat(129)}:${HEX}`,
    `user:${HEX}`,
    HEX,
    '',
    'ctx:',
    '\x00\xff\xfe',
  ]
  /** Other contexts of this protocol, whose names begin alike or look like a pattern. */
  const others = ['user_profile', 'user.x', 'users', 'use', 'user-1', 'USER', 'u.er', 'user.user', 'u'.repeat(128)]

  async function seedForeign() {
    for (const key of foreign) {
      await observer.set(Buffer.from(key, 'latin1'), 'foreign')
    }
  }

  test('a broad purge takes the keys of its context only, whatever stands beside them', async () => {
    const cache = open()
    await seedForeign()
    for (const context of others) {
      await cache.put(context, { id: 1 }, 'other')
    }
    const before = await keys()
    for (let id = 0; id < 10; id += 1) {
      await cache.put('user', { id }, 'mine')
    }
    expect(await cache.purge('user')).toBe(10)
    expect(await keys()).toEqual(before)

    await cache.put('u.er', { id: 2 }, 'mine')
    expect(await cache.purge('u.er')).toBe(2)
    expect(await keys()).toEqual(before.filter((key) => !key.startsWith('ctx:u.er:')))
  })

  test('clear takes every key of this protocol and no other', async () => {
    const cache = open()
    await seedForeign()
    const before = (await keys()).filter((key) => key !== `ctx:USER:${HEX}`)
    for (const context of others) {
      await cache.put(context, { id: 1 }, 'mine')
    }
    await cache.lookup('leased', {})
    // USER is a context like any other.
    expect(await cache.clear()).toBe(others.length + 2)
    expect(await keys()).toEqual(before)
  })

  test('5,000 entries of a context go, 200,000 foreign keys beside them stay', async () => {
    // So that none of 5,000 stores at once runs into its deadline on a slow build.
    const cache = open({ commandTimeoutMs: 20_000 })
    const seed = `
      for index = 1, 50000 do
        local digest = redis.sha1hex(index) .. string.sub(redis.sha1hex(-index), 1, 24)
        redis.call('SET', 'ctx:user_profile:' .. digest, index)
        redis.call('SET', 'ctx:user:' .. digest .. ':' .. digest, index)
        redis.call('SET', 'ctx:user:' .. string.upper(string.sub(digest, 1, 63)) .. 'G', index)
        redis.call('SET', 'session:' .. index, index)
      end`
    await observer.eval(seed)
    await Promise.all(Array.from({ length: 5000 }, (_, id) => cache.put('user', { id }, `${id}`)))
    expect(await observer.dbSize()).toBe(205_000)

    expect(await cache.purge('user')).toBe(5000)

    expect(await observer.dbSize()).toBe(200_000)
    const left = await Promise.all(Array.from({ length: 5000 }, (_, id) => cache.get('user', { id })))
    expect(left.every((value) => value === null)).toBe(true)
  })

  test('during a rotation a scoped purge deletes under each secret, and a broad one needs none', async () => {
    const oldSecret = 'the secret before the rotation, as long'
    const oldest = 'the one before that, still in some process'
    const before = open({ secret: oldSecret })
    const longBefore = open({ secret: oldest })
    const now = open({ secret: SECRET, previousSecrets: [oldSecret, new TextEncoder().encode(oldest)] })
    const fill = async () => {
      for (const cache of [before, longBefore, now]) {
        expect(await cache.put('user', { id: 1 }, 'x')).toBe(true)
      }
      await before.put('user', { id: 2 }, 'x')
    }
    await fill()
    expect(await keys()).toHaveLength(4)
    expect(await now.purge('user', { id: 1 })).toBe(3)
    expect(await keys()).toEqual([before.deriveKey('user', { id: 2 })])
    // Only the current secret reads and writes.
    expect(await now.get('user', { id: 2 })).toBe(null)
    await fill()
    expect(await now.purge('user')).toBe(4)
    expect(await keys()).toEqual([])
  })
})

describe('time to live', () => {
  /** When each entry will be gone, counted from the moment it was stored. */
  async function timesToLive(store: (id: number) => Promise<boolean>, count: number): Promise<number[]> {
    const times = []
    for (let id = 0; id < count; id += 1) {
      expect(await store(id)).toBe(true)
    }
    for (const key of await keys()) {
      times.push(await observer.pTTL(key))
    }
    return times
  }

  test('the default is a day, spread by 10 % either way', async () => {
    const cache = open()
    const times = await timesToLive((id) => cache.put('user', { id }, 'x'), 300)
    const begun = 60_000
    expect(Math.min(...times)).toBeGreaterThan(DAY * 0.9 - begun)
    expect(Math.max(...times)).toBeLessThanOrEqual(DAY * 1.1)
    // 300 evenly spread ones leave neither end empty.
    expect(Math.min(...times)).toBeLessThan(DAY * 0.95)
    expect(Math.max(...times)).toBeGreaterThan(DAY * 1.05)
  })

  test('a default of the configuration is spread too', async () => {
    const cache = open({ ttl: 1000 })
    const times = await timesToLive((id) => cache.put('user', { id }, 'x'), 300)
    expect(Math.max(...times)).toBeLessThanOrEqual(1_100_000)
    expect(Math.max(...times)).toBeGreaterThan(1_050_000)
    expect(Math.min(...times)).toBeLessThan(950_000)
  })

  test.each([0.5, 60, 1234, 315_360_000])('one of %d s is exact, with a lease and without', async (ttl) => {
    const cache = open()
    const { lease } = await cache.lookup('leased', {})
    const before = await serverTime()
    expect(await cache.put('user', {}, 'x', { ttl })).toBe(true)
    expect(await cache.put('leased', {}, 'x', { ttl, lease })).toBe(true)
    const [plain, leased] = await Promise.all([
      observer.pExpireTime(cache.deriveKey('user', {})),
      observer.pExpireTime(cache.deriveKey('leased', {})),
    ])
    const after = await serverTime()
    for (const expires of [plain, leased]) {
      expect(expires - ttl * 1000).toBeGreaterThanOrEqual(before)
      expect(expires - ttl * 1000).toBeLessThanOrEqual(after)
    }
  })

  test('an entry that is stored again lives anew', async () => {
    const cache = open()
    await cache.put('user', {}, 'x', { ttl: 60 })
    await cache.put('user', {}, 'y', { ttl: 6000 })
    expect(await observer.pTTL(cache.deriveKey('user', {}))).toBeGreaterThan(60_000)
  })

  test('an entry is gone when its time is over', async () => {
    const cache = open()
    await cache.put('user', {}, 'x', { ttl: 0.05 })
    await eventually('the entry is gone', async () => (await cache.get('user', {})) === null)
  })

  async function serverTime(): Promise<number> {
    const [seconds, microseconds] = (await observer.sendCommand(['TIME'])) as [string, string]
    return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000)
  }
})

describe('connections', () => {
  test('a cache connects on its first use, once, and close leaves nothing', async () => {
    await eventually('earlier caches are gone', async () => (await countConnections(observer)) === 0)
    const { total_connections_received: before } = await statistics()
    const cache = open()
    cache.deriveKey('user', {})
    cache.stats()
    cache.peek('user', {})
    expect((await statistics()).total_connections_received).toBe(before)
    await Promise.all(Array.from({ length: 100 }, (_, id) => cache.put('user', { id }, 'x')))
    expect(await countConnections(observer)).toBe(1)

    await cache.close()

    await eventually('no connection is left', async () => (await countConnections(observer)) === 0)
    for (const call of [
      () => cache.get('user', {}),
      () => cache.getBytes('user', {}),
      () => cache.lookup('user', {}),
      () => cache.put('user', {}, 'x'),
      () => cache.purge('user', {}),
      () => cache.purge('user'),
      () => cache.clear(),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_MIZAN_CLOSED' })
    }
    expect(cache.peek('user', {})).toBe(null)
    await cache.close()
    expect(await countConnections(observer)).toBe(0)
    expect(await keys()).toHaveLength(100)
  })

  test('a cache that was never used closes without connecting', async () => {
    const { total_connections_received: before } = await statistics()
    const cache = open()
    await cache.close()
    await expect(cache.get('user', {})).rejects.toMatchObject({ code: 'ERR_MIZAN_CLOSED' })
    expect((await statistics()).total_connections_received).toBe(before)
  })

  test('calls under way when the cache closes settle, and no connection is left', async () => {
    const cache = open()
    await cache.put('user', {}, 'x')
    const calls = Array.from({ length: 200 }, (_, id) => cache.get('user', id === 0 ? {} : { id }))
    const closed = cache.close()
    const settled = await Promise.allSettled(calls)
    for (const result of settled) {
      if (result.status === 'rejected') {
        expect(result.reason).toMatchObject({ code: 'ERR_MIZAN_CLOSED' })
      }
    }
    await closed
    await eventually('no connection is left', async () => (await countConnections(observer)) === 0)
  })

  async function statistics(): Promise<Record<string, string>> {
    const lines = (await observer.info('stats')).split('\r\n')
    return Object.fromEntries(lines.map((line) => line.split(':')))
  }
})

describe('ways to a server', () => {
  const PASSWORD = 'p@ss:w/rd% #?'

  async function worksAt(url: string): Promise<void> {
    const cache = openCache({ redisUrl: url })
    expect(await cache.put('user', { id: 1 }, 'x')).toBe(true)
    expect(await cache.get('user', { id: 1 })).toBe('x')
    expect(await cache.purge('user')).toBe(1)
    await cache.close()
  }

  async function withServer(
    options: Parameters<typeof RedisServer.start>[0],
    use: (its: RedisServer) => Promise<void>,
  ) {
    const its = await RedisServer.start(options)
    try {
      await use(its)
    } finally {
      await its.stop()
    }
  }

  test('a unix socket', async () => {
    await withServer({ unixSocket: true }, async (its) => {
      await worksAt(its.url)
      await eventually('no connection is left', async () => (await countConnections(await its.observe())) === 0)
    })
  })

  test('a password', async () => {
    await withServer({ config: [`requirepass "${PASSWORD}"`] }, (its) =>
      worksAt(its.url.replace('//', `//:${encodeURIComponent(PASSWORD)}@`)),
    )
  })

  test('a user whose rights end at keys of this protocol', async () => {
    const config = [
      'user default off',
      'user app on >secret ~ctx:* -@all +@read +@write +@scripting +@connection +hello',
    ]
    await withServer({ config }, (its) => worksAt(its.url.replace('//', '//app:secret@')))
  })

  test('the number of a database', async () => {
    const third = await server.observe({ database: 3 })
    const cache = openCache({ redisUrl: `${server.url}/3` })
    expect(await cache.put('user', {}, 'x')).toBe(true)
    expect(await keys(third)).toEqual([cache.deriveKey('user', {})])
    expect(await keys()).toEqual([])
    await open().put('user', {}, 'x')
    expect(await cache.purge('user')).toBe(1)
    expect(await keys()).toHaveLength(1)
  })

  describe('TLS', () => {
    let certificates: Certificates
    let secure: RedisServer

    beforeAll(async () => {
      certificates = await makeCertificates()
      secure = await RedisServer.start({ certificates })
    })

    afterAll(async () => {
      await secure?.stop()
      await certificates?.remove()
    })

    test('with an authority that the process trusts', async () => {
      const trust = { NODE_EXTRA_CA_CERTS: certificates.authorityFile }
      const cache = await openCacheInProcess({ redisUrl: secure.url }, trust)
      // The first connection waits for the process to read all authorities that it trusts.
      await eventually('it is connected', () => cache.put('user', { id: 1 }, 'x'))
      expect(await cache.get('user', { id: 1 })).toBe('x')
      expect(await keys(await secure.observe())).toHaveLength(1)
      expect(await cache.purge('user')).toBe(1)
    })

    test('with an authority of its own', async () => {
      const cache = openCache({ redisUrl: secure.url, tls: { ca: certificates.authority } })
      expect(await cache.put('user', { id: 3 }, 'x')).toBe(true)
      expect(await cache.get('user', { id: 3 })).toBe('x')
      expect(await cache.purge('user')).toBe(1)
      const named = openCache({ redisUrl: secure.url, tls: { ca: [certificates.authority], servername: 'localhost' } })
      expect(await named.put('user', { id: 3 }, 'x')).toBe(true)
      expect(await named.purge('user')).toBe(1)
      const misnamed = openCache({ redisUrl: secure.url, tls: { ca: certificates.authority, servername: 'other' } })
      expect(await misnamed.put('user', { id: 3 }, 'x')).toBe(false)
    })

    test('not with an authority that it does not trust', async () => {
      const cache = openCache({ redisUrl: secure.url })
      expect(await cache.put('user', { id: 2 }, 'x')).toBe(false)
      expect(await cache.get('user', { id: 2 })).toBe(null)
      expect(await keys(await secure.observe())).toEqual([])
    })

    test('not in plain text', async () => {
      const cache = openCache({ redisUrl: secure.url.replace('rediss:', 'redis:') })
      expect(await cache.put('user', { id: 3 }, 'x')).toBe(false)
      expect(await keys(await secure.observe())).toEqual([])
    })
  })
})

describe('a server that refuses', () => {
  test('without memory writes and leases are refused and counted, reads and purges go on', async () => {
    const cache = open()
    await cache.put('user', { id: 1 }, 'x')
    await observer.configSet({ maxmemory: '1', 'maxmemory-policy': 'noeviction' })
    try {
      expect(await cache.put('user', { id: 2 }, 'x')).toBe(false)
      expect(await cache.get('user', { id: 1 })).toBe('x')
      expect(await cache.lookup('user', { id: 3 })).toEqual({ value: null, lease: null, held: null })
      expect(await cache.purge('user', { id: 1 })).toBe(1)
      expect(await cache.purge('user')).toBe(0)
      expect(cache.stats()).toMatchObject({ failedWrites: 1, refusedStores: 1, failedReads: 1, pendingPurges: 0 })
    } finally {
      await observer.configSet('maxmemory', '0')
    }
    expect(await cache.put('user', { id: 2 }, 'x')).toBe(true)
  })

  test.each(['', ':wrong@', 'nobody:wrong@'])(
    'with the credentials %j everything misses and nothing throws',
    async (login) => {
      const its = await RedisServer.start({ config: ['requirepass right'] })
      try {
        const cache = openCache({ redisUrl: its.url.replace('//', `//${login}`), connectTimeoutMs: 200 })
        expect(await cache.get('user', {})).toBe(null)
        expect(await cache.getBytes('user', {})).toBe(null)
        expect(await cache.lookup('user', {})).toEqual({ value: null, lease: null, held: null })
        expect(await cache.put('user', {}, 'x')).toBe(false)
        expect(await cache.purge('user', {})).toBe(0)
        expect(await cache.purge('user')).toBe(0)
        expect(await cache.clear()).toBe(0)
        const stats = cache.stats()
        expect(stats).toMatchObject({ misses: 3, failedReads: 3, failedWrites: 1, deferredPurges: 3 })
        expect(stats.pendingPurges).toBeGreaterThan(0)
        await cache.close()
      } finally {
        await its.stop()
      }
    },
  )

  test('what another kind of value stands at the key is replaced by a put and removed by a purge', async () => {
    const cache = open()
    const key = cache.deriveKey('user', {})
    await observer.lPush(key, 'a list')
    expect(await cache.get('user', {})).toBe(null)
    expect((await cache.lookup('user', {})).value).toBe(null)
    expect(await cache.put('user', {}, 'x')).toBe(true)
    expect(await cache.get('user', {})).toBe('x')
    await observer.del(key)
    await observer.lPush(key, 'a list')
    expect(await cache.purge('user', {})).toBe(1)
    expect(await observer.exists(key)).toBe(0)
  })
})
