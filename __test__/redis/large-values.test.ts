import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest'
import type { Cache, CacheOptions } from '../../cache/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache } from '../support/redis-cache.ts'
import { RedisProxy } from '../support/redis-proxy.ts'
import { countCalls, countConnections, type Observer, RedisServer } from '../support/redis-server.ts'

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
  await observer.configSet({ maxclients: '10000' })
  await eventually('earlier caches have gone', async () => (await countConnections(observer)) === 0)
})

const LENGTH = 100_000
const large = (letter: string) => letter.repeat(LENGTH)
/** What stands for a large value where a test fails. */
const short = (value: string | null) => value && `${value.length} of ${value[0]}`
/** A caller that asks again and again finds the entry known to be large from the second time on. */
const TIMES = [1, 2, 3]

const open = (options: Partial<CacheOptions> = {}) =>
  openCache({ redisUrl: server.url, commandTimeoutMs: 20_000, ...options })

/** A cache that has a connection for large values; with copies it has none of the entry that it was made for. */
async function openWithLarge(options: Partial<CacheOptions> = {}): Promise<Cache> {
  const cache = open(options)
  await eventually('there is a connection for large values', async () => {
    await observer.set(cache.deriveKey('document', {}), large('a'), { EX: 3_600 })
    await eventually('its copy has gone', () => cache.peek('document', {}) === null)
    expect(short(await cache.get('document', {}))).toBe(short(large('a')))
    return (await countConnections(observer)) === 2
  })
  return cache
}

test('holds up no small ones that are asked for after it', async () => {
  const proxy = await RedisProxy.start(server)
  onTestFinished(() => proxy.stop())
  const cache = await openWithLarge({ redisUrl: proxy.url })
  await cache.put('user', {}, 'small')
  let goOn = () => {}
  const isLetOn = new Promise<void>((resolve) => {
    goOn = resolve
  })
  let isOnItsWay = false
  proxy.toClient = async (bytes, forward) => {
    if (bytes.length > 1_000) {
      isOnItsWay = true
      await isLetOn
    }
    forward(bytes)
  }
  const document = cache.get('document', {})
  await eventually('the large value is on its way', () => isOnItsWay)
  expect(await cache.get('user', {})).toBe('small')
  expect(await Promise.all([cache.get('user', {}), cache.lookup('user', {})])).toMatchObject([
    'small',
    { value: 'small' },
  ])
  goOn()
  expect(short(await document)).toBe(short(large('a')))
})

test('has no connection of its own before one is known', async () => {
  const cache = open()
  await cache.put('user', {}, 'small')
  for (const _ of TIMES) expect(await cache.get('user', {})).toBe('small')
  expect(await countConnections(observer)).toBe(1)
})

test('is read by a command of its own', async () => {
  const cache = open()
  const ids = Array.from({ length: 100 }, (_, id) => id)
  await Promise.all(ids.map((id) => cache.put('user', { id }, id === 7 ? large('x') : 'x')))
  const readAll = () => Promise.all(ids.map((id) => cache.get('user', { id })))
  // The first time nobody knows.
  await readAll()
  await observer.configResetStat()
  const found = await readAll()
  expect(found.map((value) => value?.length)).toEqual(ids.map((id) => (id === 7 ? LENGTH : 1)))
  // The large one, and the others before and after it.
  expect(await countCalls(observer, 'mget')).toBe(3)
})

test('is found by every kind of read', async () => {
  const cache = await openWithLarge()
  expect(short(await cache.get('document', {}))).toBe(short(large('a')))
  const bytes = await cache.getBytes('document', {})
  expect(bytes && short(new TextDecoder().decode(bytes))).toBe(short(large('a')))
  const { value, ...others } = await cache.lookup('document', {})
  expect([short(value), others]).toEqual([short(large('a')), { lease: null, held: null }])
  await cache.purge('document', {})
  const { lease } = await cache.lookup('document', {})
  expect(await cache.put('document', {}, large('b'), { lease })).toBe(true)
  expect(short(await cache.get('document', {}))).toBe(short(large('b')))
})

test('is read by the first connection where Redis allows no other', async () => {
  const cache = open()
  await cache.get('document', {})
  await observer.configSet({ maxclients: String(await countConnections(observer)) })
  expect(await cache.put('document', {}, large('a'))).toBe(true)
  for (const _ of TIMES) expect(short(await cache.get('document', {}))).toBe(short(large('a')))
  await eventually('another connection was refused', async () =>
    /rejected_connections:[1-9]/.test(await observer.info('stats')),
  )
  expect(short(await cache.get('document', {}))).toBe(short(large('a')))
  expect(cache.stats()).toMatchObject({ failedReads: 0, reconnects: 0 })
})

test('goes from the copies when it changes, as others do', async () => {
  const cache = await openWithLarge({ local: {} })
  const other = open()
  for (const letter of ['b', 'c', 'd']) {
    await other.put('document', {}, large(letter))
    await eventually('the copy has gone', () => cache.peek('document', {}) === null)
    // The other connection, which read it once, may tell of the change later than this one reads it.
    await eventually('there is a copy', async () => {
      expect(short(await cache.get('document', {}))).toBe(short(large(letter)))
      return cache.peek('document', {}) !== null
    })
  }
})

test('goes from the copies with the connection that it was read by', async () => {
  const cache = await openWithLarge({ local: {} })
  expect(short(await cache.get('document', {}))).toBe(short(large('a')))
  expect(short(cache.peek('document', {}))).toBe(short(large('a')))
  const clients = await observer.clientList()
  const [youngest] = clients.filter(({ resp }) => resp === 3).sort((one, other) => other.id - one.id)
  await observer.sendCommand(['CLIENT', 'KILL', 'ID', String(youngest?.id)])
  await eventually('the copy has gone', () => cache.peek('document', {}) === null)
  expect(cache.stats().reconnects, 'the other connection stands').toBe(0)
  expect(short(await cache.get('document', {}))).toBe(short(large('a')))
})
