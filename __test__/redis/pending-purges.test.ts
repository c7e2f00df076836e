/** Pending purges outlive what asked for them, and recent ones are repeated only where something was lost. */

import { expect, onTestFinished, test } from 'vitest'
import { configureCache } from '../../cache/index.ts'
import { getOrLoad } from '../../origin/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache, SECRET } from '../support/redis-cache.ts'
import { countCalls, countConnections, type Observer, RedisServer } from '../support/redis-server.ts'

async function startServer(config: string[] = []): Promise<{ server: RedisServer; observer: Observer }> {
  const server = await RedisServer.start({ config })
  onTestFinished(() => server.stop())
  return { server, observer: await server.observe() }
}

test('a cache that replaces the default delivers what the one before it could not', async () => {
  const { server, observer } = await startServer()
  const options = { secret: SECRET, redisUrl: server.url, local: false, commandTimeoutMs: 100 } as const
  const first = configureCache(options)
  onTestFinished(() => first.close())
  await first.put('user', {}, 'old')
  await server.pause()
  expect(await first.purge('user', {})).toBe(0)
  expect(first.stats().pendingPurges).toBe(1)
  const second = configureCache({ ...options, ttl: 60 })
  onTestFinished(() => second.close())
  expect(second.stats().pendingPurges).toBe(1)
  expect(await second.get('user', {})).toBe(null)
  server.resume()
  await eventually('the purge is delivered', () => second.stats().pendingPurges === 0)
  expect(await observer.exists(second.deriveKey('user', {}))).toBe(0)
})

test('a failed load gives its lease back, is no purge, and touches nobody’s newer value', async () => {
  const { server, observer } = await startServer()
  const cache = openCache({ redisUrl: server.url, leaseMs: 200 })
  const fail = () => Promise.reject(new Error('no database'))
  await expect(getOrLoad(cache, 'user', {}, {}, fail)).rejects.toThrow('no database')
  await eventually('the lease is given back', async () => (await observer.exists(cache.deriveKey('user', {}))) === 0)
  expect(cache.stats()).toMatchObject({ purges: 0, purgedEntries: 0 })
  // One whose lease expired while another stored.
  const { lease } = await cache.lookup('user', {})
  await eventually('the lease has expired', async () => (await observer.exists(cache.deriveKey('user', {}))) === 0)
  await cache.put('user', {}, 'newer')
  expect(await cache.release('user', {}, lease ?? '')).toBe(false)
  expect(await cache.get('user', {})).toBe('newer')
})

test('a server that closes idle connections is not purged again and again', async () => {
  const { server, observer } = await startServer(['timeout 1'])
  const cache = openCache({ redisUrl: server.url })
  await cache.put('user', { id: 1 }, 'x')
  expect(await cache.purge('user', { id: 1 })).toBe(1)
  await cache.put('user', { id: 1 }, 'filled since')
  const before = await countCalls(observer, 'unlink')
  for (const _ of [1, 2, 3]) {
    const { reconnects } = cache.stats()
    await observer.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'])
    await eventually('it is connected again', () => cache.stats().reconnects > reconnects)
  }
  expect(await cache.get('user', { id: 1 })).toBe('filled since')
  expect(await countCalls(observer, 'unlink')).toBe(before)
})

test('25,000 scoped purges at once are 25,000 keys, and leave the rest of the context', async () => {
  const { server, observer } = await startServer()
  const cache = openCache({ redisUrl: server.url, commandTimeoutMs: 60_000 })
  const ids = Array.from({ length: 25_000 }, (_, id) => id)
  for (let from = 0; from < ids.length; from += 5_000) {
    await Promise.all(ids.slice(from, from + 5_000).map((id) => cache.put('user', { id }, 'x')))
  }
  await cache.put('user', { id: -1 }, 'spared')
  await observer.configResetStat()
  await Promise.all(ids.map((id) => cache.purge('user', { id })))
  await eventually('all are delivered', () => cache.stats().pendingPurges === 0)
  expect(await cache.get('user', { id: -1 })).toBe('spared')
  expect(await observer.dbSize()).toBe(1)
  expect(await countCalls(observer, 'scan')).toBe(0)
  expect(await countCalls(observer, 'unlink')).toBeLessThan(1_000)
})

test('a purge that Redis goes on refusing is tried less and less, and holds up no other', async () => {
  const { server, observer } = await startServer()
  await observer.sendCommand(['ACL', 'SETUSER', 'app', 'on', '>x', '~ctx:allowed:*', '+@all'])
  const cache = openCache({ redisUrl: server.url.replace('//', '//app:x@') })
  expect(await cache.purge('forbidden', {})).toBe(0)
  for (let id = 0; id < 50; id += 1) {
    expect(await cache.put('allowed', { id }, 'x')).toBe(true)
    expect(await cache.purge('allowed', { id })).toBe(1)
    expect(await cache.put('allowed', { id }, 'y')).toBe(true)
    expect(await cache.get('allowed', { id })).toBe('y')
  }
  expect(cache.stats().pendingPurges).toBe(1)
  await observer.sendCommand(['ACL', 'SETUSER', 'app', '~ctx:*'])
  await eventually('it is delivered once it is allowed', () => cache.stats().pendingPurges === 0)
})

test('connections that are closed leave none behind', async () => {
  const { server, observer } = await startServer()
  const cache = openCache({ redisUrl: server.url })
  await cache.put('user', {}, 'x'.repeat(100_000))
  await cache.get('user', {})
  expect(await countConnections(observer)).toBe(2)
  await cache.close()
  await eventually('none is left', async () => (await countConnections(observer)) === 0)
})
