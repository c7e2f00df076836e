import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Cache } from '../../cache/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache } from '../support/redis-cache.ts'
import { PRIMARY_NAME, RedisSentinelGroup } from '../support/redis-sentinel.ts'
import { countConnections } from '../support/redis-server.ts'

let group: RedisSentinelGroup

beforeAll(async () => {
  group = await RedisSentinelGroup.start()
})

afterAll(() => group?.stop())

const open = (urls = group.urls) => openCache({ sentinel: { urls, name: PRIMARY_NAME } })

/** Waits until a value is stored; before a failover is noticed, and during it, none is. */
const storesAgain = (cache: Cache) => eventually('storing works', () => cache.put('probe', {}, 'x'))

async function works(cache: Cache): Promise<void> {
  expect(await cache.put('user', { id: 1 }, 'x')).toBe(true)
  expect(await cache.get('user', { id: 1 })).toBe('x')
  const { lease } = await cache.lookup('user', { id: 2 })
  expect(await cache.put('user', { id: 2 }, 'x', { lease })).toBe(true)
  expect(await cache.purge('user', { id: 1 })).toBe(1)
  expect(await cache.purge('user')).toBe(1)
}

test('the sentinels lead to the primary, and close leaves no connection on it', async () => {
  const cache = open()
  await works(cache)
  const observer = await (await group.primary()).observe()
  await cache.put('probe', {}, 'x')
  expect(await observer.get(cache.deriveKey('probe', {}))).toBe('x')
  await cache.close()
  await eventually('only the sentinels and the replica are left', async () => {
    const clients = await observer.clientList()
    const own = clients.filter(({ name, flags }) => name.startsWith('sentinel-') || flags.includes('S'))
    return (await countConnections(observer)) === own.length
  })
})

test('sentinels that are down or do not know the name are passed over', async () => {
  const nobody = 'redis://127.0.0.1:1'
  const cache = open([nobody, ...group.urls])
  await storesAgain(cache)
  await works(cache)
  const unknown = openCache({ sentinel: { urls: group.urls, name: 'another' } })
  expect(await unknown.put('user', {}, 'x')).toBe(false)
  expect(await unknown.get('user', {})).toBe(null)
})

test('after a failover by hand the cache leaves the old primary, which is alive and only reads now', async () => {
  const cache = open()
  await works(cache)
  const before = await group.primary()
  expect(await cache.put('renamed', {}, 'old')).toBe(true)
  expect(await (await before.observe()).sendCommand(['WAIT', '1', '10000'])).toBe(1)
  const sentinel = await group.sentinels[0]?.observe()
  await eventually('the sentinels take the order', async () => {
    const answer = await sentinel?.sendCommand(['SENTINEL', 'FAILOVER', PRIMARY_NAME]).catch(() => null)
    return String(answer) === 'OK'
  })
  await eventually('another is the primary', async () => (await group.primary()).port !== before.port)
  // The old primary still takes this, and the new one never hears of it: unless it is purged there again, what it has
  // is stale from here on.
  await cache.purge('renamed', {})
  await storesAgain(cache)
  const after = await (await group.primary()).observe()
  await eventually('it is stored at the new primary', async () => {
    return (await cache.put('moved', {}, 'x')) && (await after.exists(cache.deriveKey('moved', {}))) === 1
  })
  await eventually('no purge is owed', () => cache.stats().pendingPurges === 0)
  expect(await after.exists(cache.deriveKey('renamed', {}))).toBe(0)
  await works(cache)
})

test('after the primary was killed the cache finds the promoted replica by itself', async () => {
  const cache = open()
  await works(cache)
  const lost = await group.primary()
  await lost.kill()
  expect(await cache.get('user', { id: 1 })).toBe(null)
  expect(await cache.purge('owed')).toBe(0)
  const promoted = await group.primary()
  expect(promoted.port).not.toBe(lost.port)
  await storesAgain(cache)
  await eventually('the purge is delivered', () => cache.stats().pendingPurges === 0)
  await works(cache)
})
