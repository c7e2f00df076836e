/**
 * Attacks from inside Redis: somebody who shares the server leaves at an entry's key what no cache would. Nobody is given
 * it as what it is not, nothing hangs or ends, and a purge takes it away.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Cache } from '../../cache/index.ts'
import { createOrigin, getOrLoad } from '../../origin/index.ts'
import { HAS_REDIS, openCache as open, TRANSPORTS } from '../origin/support.ts'
import { type Observer, RedisServer } from '../support/redis-server.ts'

const NOTHING = { value: null, lease: null, held: null }
const TOKEN = '0123456789abcdef0123456789abcdef'

describe.runIf(HAS_REDIS)('at the key of an entry', () => {
  let server: RedisServer
  let observer: Observer
  let cache: Cache
  let key: string

  beforeAll(async () => {
    server = await RedisServer.start()
    observer = await server.observe()
  })

  afterAll(() => server?.stop())

  beforeEach(async () => {
    await observer.flushAll()
    cache = open({ redisUrl: server.url })
    key = cache.deriveKey('user', {})
  })

  /** Whatever stands there, readers are answered by their own load, and the cache works again after a purge. */
  async function expectServiceGoesOn(): Promise<void> {
    for (let round = 1; round <= 3; round++) {
      expect(await getOrLoad(cache, 'user', {}, {}, () => 'loaded')).toBe('loaded')
    }
    expect(await cache.purge('user', {})).toBe(1)
    const { lease } = await cache.lookup('user', {})
    expect(await cache.put('user', {}, 'stored', { lease })).toBe(true)
    expect(await cache.get('user', {})).toBe('stored')
    expect(cache.stats()).toMatchObject({ circuit: 'closed', reconnects: 0, pendingPurges: 0, timeouts: 0 })
  }

  // To have a reader wait for a lease that nobody holds, or take what it cannot be for one.
  test.each<[string, Record<string, string>]>([
    ['an empty token', { lease: '' }],
    ['a token that is too short', { lease: TOKEN.slice(1) }],
    ['a token that is too long', { lease: `${TOKEN}0` }],
    ['a token in capitals', { lease: TOKEN.toUpperCase() }],
    ['a token that is not hex', { lease: 'g'.repeat(32) }],
    ['a token that ends early', { lease: `${TOKEN.slice(1)}\0` }],
    ['a token of a megabyte', { lease: 'a'.repeat(2 ** 20) }],
    ['a token of other letters', { lease: '\uff10'.repeat(32) }],
  ])('a lease with %s is nobody’s: the reader loads for itself', async (_name, hash) => {
    await observer.hSet(key, hash)
    expect(await cache.lookup('user', {})).toEqual(NOTHING)
    expect(await cache.get('user', {})).toBeNull()
    await expectServiceGoesOn()
  })

  test('a hash without a lease becomes the reader’s lease, and then its value', async () => {
    await observer.hSet(key, 'other', 'x')
    expect(await cache.get('user', {})).toBeNull()
    const { lease } = await cache.lookup('user', {})
    expect(await observer.pTTL(key)).toBeGreaterThan(0)
    expect(await cache.put('user', {}, 'stored', { lease })).toBe(true)
    expect(await cache.get('user', {})).toBe('stored')
  })

  // To keep an entry out of the cache and its readers waiting: they wait once each, for `waitMs`, and load.
  test('a lease without end holds readers up no longer than any other', async () => {
    await observer.hSet(key, 'lease', TOKEN)
    expect(await observer.ttl(key)).toBe(-1)
    expect(await cache.lookup('user', {})).toEqual({ ...NOTHING, held: TOKEN })
    await expectServiceGoesOn()
  })

  test('a lease of somebody else’s token is not the reader’s own: what it stores is refused', async () => {
    const { lease } = await cache.lookup('user', {})
    await observer.hSet(key, 'lease', TOKEN)
    expect(await cache.put('user', {}, 'stale', { lease })).toBe(false)
    expect(await cache.get('user', {})).toBeNull()
  })

  test.each<[string, () => Promise<unknown>]>([
    ['a list', () => observer.lPush(key, ['hit', 'x'])],
    ['a set', () => observer.sAdd(key, 'x')],
    ['a sorted set', () => observer.zAdd(key, { score: 1, value: 'x' })],
    ['a stream', () => observer.xAdd(key, '*', { lease: TOKEN })],
  ])('%s is a miss', async (_name, plant) => {
    await plant()
    expect(await cache.get('user', {})).toBeNull()
    expect(await cache.lookup('user', {})).toEqual(NOTHING)
    await expectServiceGoesOn()
  })

  test.each([
    ['no UTF-8', Buffer.of(0xff, 0xfe, 0x00)],
    ['half a surrogate pair', Buffer.of(0xed, 0xa0, 0x80)],
    ['an overlong slash', Buffer.of(0xc0, 0xaf)],
    ['cut in the middle of a letter', Buffer.from('é').subarray(0, 1)],
  ])('a value that is %s is refused as text, and no request fails for it', async (_name, bytes) => {
    await observer.set(key, bytes)
    await expect(cache.get('user', {})).rejects.toMatchObject({ code: 'ERR_MIZAN_VALUE_ENCODING' })
    await expect(cache.lookup('user', {})).rejects.toMatchObject({ code: 'ERR_MIZAN_VALUE_ENCODING' })
    expect(Buffer.compare((await cache.getBytes('user', {})) ?? Buffer.of(), bytes)).toBe(0)
    const origin = createOrigin({ cache })
    origin.context('user', { functions: { profile: () => 'loaded' } })
    const send = await TRANSPORTS.fetch(origin)
    expect((await send('/api/mizan/ctx/user/')).text).toBe('{"profile":"loaded"}')
    await expectServiceGoesOn()
  })

  // To have what looks like the protocol inside a value taken for the protocol.
  test.each([
    '',
    TOKEN,
    'hit',
    'held',
    'leased',
    '-WRONGTYPE\r\n',
    '*2\r\n$4\r\nheld\r\n',
    `{"lease":"${TOKEN}"}`,
    '\0',
  ])('the value %j is that value', async (value) => {
    await observer.set(key, value)
    expect(await cache.get('user', {})).toBe(value)
    expect(await cache.lookup('user', {})).toEqual({ ...NOTHING, value })
    expect(await getOrLoad(cache, 'user', {}, {}, () => 'loaded')).toBe(value)
  })

  test('a value far above the bound of this cache neither ends it nor holds up other entries', async () => {
    const small = open({ redisUrl: server.url, maxValueBytes: 1000, commandTimeoutMs: 10_000 })
    await small.put('user', { id: 1 }, 'of another')
    await observer.eval(`redis.call('SET', KEYS[1], string.rep('x', ${2 ** 25}))`, { keys: [key] })
    const [huge, other] = await Promise.all([small.getBytes('user', {}), small.get('user', { id: 1 })])
    expect([huge?.length, other]).toEqual([2 ** 25, 'of another'])
    expect(await small.purge('user', {})).toBe(1)
    expect(small.stats()).toMatchObject({ circuit: 'closed', timeouts: 0 })
  })

  // To have a broad purge delete what is not of its context, or end in what it meets.
  test('keys that look like entries are left alone, and those of another kind go with their context', async () => {
    const digest = 'a'.repeat(64)
    const foreign = [
      `ctx:user:${digest.toUpperCase()}`,
      `ctx:user:${digest}0`,
      `ctx:user.x:${digest}`,
      `xctx:user:${digest}`,
    ]
    for (const name of foreign) await observer.lPush(name, 'x')
    await observer.lPush(`ctx:user:${digest}`, 'x')
    await observer.hSet(key, 'lease', TOKEN)
    expect(await cache.purge('user')).toBe(2)
    expect((await observer.keys('*')).sort()).toEqual(foreign.sort())
  })
})
