/** A user with just the rights that `docs/redis.md` names can do everything; one without them loses just what needs it. */

import { readFileSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import type { Cache } from '../../cache/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache } from '../support/redis-cache.ts'
import { RedisCluster } from '../support/redis-cluster.ts'
import { type Observer, RedisServer } from '../support/redis-server.ts'

const documented = readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8')
const RIGHTS = (/```\n(\+mget[^`]*)```/.exec(documented)?.[1] ?? '').split(/\s+/).filter(Boolean)

async function addUser(observer: Observer, rights: string[]): Promise<void> {
  await observer.sendCommand([
    'ACL',
    'SETUSER',
    'mizan',
    'on',
    '>password',
    '~ctx:*',
    'resetchannels',
    '-@all',
    ...rights,
  ])
}

async function startServer(rights: string[]): Promise<{ url: string; observer: Observer }> {
  const server = await RedisServer.start()
  onTestFinished(() => server.stop())
  const observer = await server.observe()
  await addUser(observer, rights)
  return { url: server.url.replace('//', '//mizan:password@'), observer }
}

async function useEverything(cache: Cache): Promise<void> {
  expect(await cache.put('user', { id: 1 }, 'x')).toBe(true)
  expect(await cache.get('user', { id: 1 })).toBe('x')
  const { lease } = await cache.lookup('user', { id: 2 })
  expect(await cache.put('user', { id: 2 }, 'x'.repeat(100_000), { lease })).toBe(true)
  expect((await cache.lookup('user', { id: 2 })).value).toHaveLength(100_000)
  const failed = await cache.lookup('user', { id: 3 })
  expect(await cache.release('user', { id: 3 }, failed.lease ?? '')).toBe(true)
  expect(await cache.purge('user', { id: 1 })).toBe(1)
  expect(await cache.purge('user')).toBe(1)
  expect(await cache.put('user', { id: 1 }, 'x')).toBe(true)
  expect(await cache.clear()).toBe(1)
  expect(cache.stats()).toMatchObject({ pendingPurges: 0, failedReads: 0, failedWrites: 0 })
}

test('the rights are documented', () => {
  expect(RIGHTS.length).toBeGreaterThan(15)
})

test('they are enough on one server, in another database, with copies', async () => {
  const { url, observer } = await startServer(RIGHTS)
  const cache = openCache({ redisUrl: `${url}/3`, local: {} })
  await useEverything(cache)
  await cache.put('user', { id: 1 }, 'x')
  await cache.get('user', { id: 1 })
  expect(cache.peek('user', { id: 1 })).toBe('x')
  expect(await observer.sendCommand(['ACL', 'LOG'])).toEqual([])
})

test('they are enough on a cluster', async () => {
  const cluster = await RedisCluster.start()
  onTestFinished(() => cluster.stop())
  const observers = await Promise.all(cluster.nodes.map((node) => node.observe()))
  for (const observer of observers) await addUser(observer, RIGHTS)
  const cache = openCache({ cluster: cluster.urls.map((url) => url.replace('//', '//mizan:password@')), local: {} })
  await useEverything(cache)
  await cache.put('user', { id: 1 }, 'x')
  await cache.get('user', { id: 1 })
  expect(cache.peek('user', { id: 1 })).toBe('x')
  for (const observer of observers) expect(await observer.sendCommand(['ACL', 'LOG'])).toEqual([])
})

test('without scripts lookups find what is there, and give no leases', async () => {
  const { url } = await startServer(RIGHTS.filter((right) => !right.includes('eval')))
  const cache = openCache({ redisUrl: url })
  await cache.put('user', { id: 1 }, 'x')
  for (const _ of [1, 2, 3]) {
    const ids = [1, 2, 3]
    const found = await Promise.all(ids.map((id) => cache.lookup('user', { id })))
    expect(found.map(({ value, lease }) => [value, lease])).toEqual([
      ['x', null],
      [null, null],
      [null, null],
    ])
  }
})

test('without INFO recent purges are repeated on a new connection, and for a minute only', async () => {
  const { url, observer } = await startServer(RIGHTS.filter((right) => right !== '+info'))
  const cache = openCache({ redisUrl: url })
  await cache.put('user', {}, 'x')
  expect(await cache.purge('user', {})).toBe(1)
  await observer.set(cache.deriveKey('user', {}), 'forgotten')
  await observer.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'])
  await eventually('the purge is repeated', async () => (await observer.exists(cache.deriveKey('user', {}))) === 0)
})

test('without CLIENT KILL an event says so', async () => {
  const { url, observer } = await startServer(RIGHTS.filter((right) => right !== '+client|kill'))
  const { subscribe, unsubscribe } = await import('node:diagnostics_channel')
  const states: string[] = []
  const listen = (message: unknown) => void states.push((message as { state: string }).state)
  subscribe('mizan:cache:connection', listen)
  onTestFinished(() => void unsubscribe('mizan:cache:connection', listen))
  const cache = openCache({ redisUrl: url, commandTimeoutMs: 100 })
  await cache.put('user', {}, 'x')
  await observer.sendCommand(['CLIENT', 'PAUSE', '2000', 'WRITE'])
  await Promise.all(Array.from({ length: 5 }, (_, id) => cache.put('user', { id }, 'given up')))
  await eventually('the refusal is told', () => states.includes('fence refused'))
  await observer.sendCommand(['CLIENT', 'UNPAUSE'])
})
