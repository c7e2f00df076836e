/**
 * Redis slow, gone, or refusing (protocol.md §8). No test asserts a duration: that calls settle while the server stands
 * still is shown by its standing still until they have, and a call that never settles runs into the test's own limit.
 */

import { describe, expect, onTestFinished, test } from 'vitest'
import type { Cache } from '../../cache/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache } from '../support/redis-cache.ts'
import { garble, pass, RedisProxy, swallow, type Treatment, truncate } from '../support/redis-proxy.ts'
import {
  countCalls,
  countConnections,
  findFreePort,
  type Observer,
  RedisServer,
  type RedisServerOptions,
} from '../support/redis-server.ts'

const NOTHING = { value: null, lease: null, held: null }

async function startServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await RedisServer.start(options)
  onTestFinished(() => server.stop())
  return server
}

/** Every sort of call, many at once: each settles, and says that there is nothing. */
async function expectNothing(cache: Cache): Promise<void> {
  const rounds = Array.from({ length: 20 }, async (_, id) => {
    const params = { id }
    expect(await cache.get('fault', params)).toBe(null)
    expect(await cache.getBytes('fault', params)).toBe(null)
    expect(await cache.lookup('fault', params)).toEqual(NOTHING)
    expect(await cache.put('fault', params, 'x')).toBe(false)
  })
  await Promise.all(rounds)
}

async function storesAgain(cache: Cache, context = 'recovered'): Promise<void> {
  await eventually('storing works again', () => cache.put(context, {}, 'x'))
  expect(await cache.get(context, {})).toBe('x')
  expect(cache.stats()).toMatchObject({ circuit: 'closed', inFlight: 0 })
}

describe('a server that stands still', () => {
  test('calls settle while it does, and storing works again by itself afterwards', async () => {
    const server = await startServer()
    const cache = openCache({ redisUrl: server.url })
    expect(await cache.put('user', {}, 'x')).toBe(true)
    await server.pause()
    await expectNothing(cache)
    await eventually('the circuit is open', () => cache.stats().circuit === 'open')
    const { timeouts } = cache.stats()
    expect(timeouts).toBeGreaterThan(0)
    // Nobody waits for a deadline any more.
    await expectNothing(cache)
    expect(cache.stats()).toMatchObject({ timeouts, inFlight: 0 })
    server.resume()
    await storesAgain(cache)
    expect(cache.stats().reconnects).toBeGreaterThan(0)
    // The connection that was given up is gone too.
    const observer = await server.observe()
    await eventually('one connection is left', async () => (await countConnections(observer)) === 1)
  })

  test('also when it stood still before the first call', async () => {
    const server = await startServer()
    await server.pause()
    const cache = openCache({ redisUrl: server.url })
    await expectNothing(cache)
    server.resume()
    await storesAgain(cache)
  })

  test('also when more is written than the socket takes', async () => {
    const server = await startServer()
    const cache = openCache({ redisUrl: server.url })
    await cache.put('user', {}, 'x')
    await server.pause()
    const value = new Uint8Array(1024 * 1024)
    const puts = Array.from({ length: 100 }, (_, id) => cache.put('large', { id }, value))
    expect(await Promise.all(puts)).not.toContain(true)
    await expectNothing(cache)
    server.resume()
    await storesAgain(cache)
  })

  test('a broad purge that it interrupts is kept and finished afterwards', async () => {
    const server = await startServer({ config: ['enable-debug-command local'] })
    const observer = await server.observe()
    await observer.sendCommand(['DEBUG', 'POPULATE', '300000', 'foreign', '1'])
    const cache = openCache({ redisUrl: server.url })
    const puts = Array.from({ length: 1000 }, (_, id) => cache.put('user', { id }, 'x'))
    expect(await Promise.all(puts)).not.toContain(false)
    const purge = cache.purge('user')
    await eventually('the pass has begun', async () => (await countCalls(observer, 'scan')) > 0)
    await server.pause()
    expect(await purge).toBe(0)
    expect(cache.stats().pendingPurges).toBe(1)
    server.resume()
    await eventually('the purge is delivered', () => cache.stats().pendingPurges === 0)
    expect(await observer.dbSize()).toBe(300_000)
  })
})

describe('a server that is gone', () => {
  test('calls settle, and storing works again once it is back', async () => {
    const server = await startServer()
    const cache = openCache({ redisUrl: server.url })
    await cache.put('user', {}, 'x')
    for (let round = 0; round < 3; round += 1) {
      await server.kill()
      await expectNothing(cache)
      await server.restart()
      await storesAgain(cache, `round${round}`)
    }
    expect(cache.stats().reconnects).toBeGreaterThanOrEqual(3)
  })

  test('nobody listening from the start, and a server later', async () => {
    const server = await startServer()
    await server.kill()
    const cache = openCache({ redisUrl: server.url })
    await expectNothing(cache)
    expect(await cache.purge('user', {})).toBe(0)
    expect(await cache.purge('user')).toBe(0)
    expect(cache.stats()).toMatchObject({ circuit: 'open', deferredPurges: 2 })
    await server.restart()
    await eventually('the purges are delivered', () => cache.stats().pendingPurges === 0)
    await storesAgain(cache)
  })

  test('close ends in bounded time with purges that it cannot deliver, and says how many', async () => {
    const cache = openCache({ redisUrl: `redis://127.0.0.1:${await findFreePort()}`, connectTimeoutMs: 200 })
    await cache.purge('user', {})
    await cache.purge('order')
    expect(cache.stats().pendingPurges).toBe(2)
    await cache.close()
    expect(cache.stats()).toMatchObject({ pendingPurges: 2, deferredPurges: 2, circuit: 'open' })
    await expect(cache.get('user', {})).rejects.toMatchObject({ code: 'ERR_MIZAN_CLOSED' })
  })

  test('connections cut by the server are replaced', async () => {
    const server = await startServer()
    const observer = await server.observe()
    const cache = openCache({ redisUrl: server.url })
    for (let round = 0; round < 5; round += 1) {
      await storesAgain(cache, `round${round}`)
      await observer.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'])
    }
    await storesAgain(cache)
    await eventually('one connection is left', async () => (await countConnections(observer)) === 1)
  })
})

describe('a server that is there and serves nobody', () => {
  test('while a script of somebody else blocks it reads miss, and a purge waits for its end', async () => {
    const server = await startServer({ config: ['busy-reply-threshold 10'] })
    const [blocker, observer] = [await server.observe(), await server.observe()]
    const cache = openCache({ redisUrl: server.url })
    await cache.put('user', {}, 'old')
    const script = blocker.eval('while true do end').catch(() => 'killed')
    await eventually('the server is busy', () => isRefused(observer))
    await expectNothing(cache)
    expect(await cache.purge('user', {})).toBe(0)
    expect(await cache.get('user', {})).toBe(null)
    await observer.scriptKill()
    expect(await script).toBe('killed')
    await eventually('the purge is delivered', () => cache.stats().pendingPurges === 0)
    expect(await observer.exists(cache.deriveKey('user', {}))).toBe(0)
    await storesAgain(cache)
  })

  test('while it loads its data everything misses', async () => {
    const config = ['enable-debug-command local', 'key-load-delay 20', 'loading-process-events-interval-bytes 1024']
    const server = await startServer({ config, persistent: true })
    const observer = await server.observe()
    const cache = openCache({ redisUrl: server.url })
    await cache.put('user', {}, 'old')
    await observer.sendCommand(['DEBUG', 'POPULATE', '15000', 'foreign', '1'])
    const loading = observer.sendCommand(['DEBUG', 'RELOAD'])
    const other = await server.observe()
    await eventually('the server loads', () => isRefused(other))
    expect(await cache.get('user', {})).toBe(null)
    expect(await cache.put('user', { id: 1 }, 'x')).toBe(false)
    expect(await cache.purge('user', {})).toBe(0)
    expect(await cache.get('user', {})).toBe(null)
    await loading
    await eventually('the purge is delivered', () => cache.stats().pendingPurges === 0)
    expect(await observer.exists(cache.deriveKey('user', {}))).toBe(0)
    await storesAgain(cache)
  })

  /** Whether the server answers, and with an error. */
  const isRefused = (observer: Observer) =>
    observer.get('anything').then(
      () => false,
      () => true,
    )
})

describe('a network that spoils answers', () => {
  test.each<[string, Treatment]>([
    ['vanish, and nobody closes the connection', swallow],
    ['are cut in the middle', truncate],
    ['are garbage', garble],
  ])('while they %s everything misses, and a purge is done once they are well again', async (_, treatment) => {
    const server = await startServer()
    const observer = await server.observe()
    const proxy = await RedisProxy.start(server)
    onTestFinished(() => proxy.stop())
    const cache = openCache({ redisUrl: proxy.url })
    await cache.put('user', {}, 'old')
    proxy.toClient = treatment
    await expectNothing(cache)
    expect(await cache.purge('user', {})).toBe(0)
    await cache.purge('order')
    expect(cache.stats()).toMatchObject({ pendingPurges: 2, inFlight: 0 })
    proxy.toClient = pass
    await eventually('the purges are delivered', async () => {
      expect(await cache.get('user', {})).toBe(null)
      return cache.stats().pendingPurges === 0
    })
    expect(await observer.exists(cache.deriveKey('user', {}))).toBe(0)
    await storesAgain(cache)
  })
})

describe('purges that cannot be done', () => {
  test('one made while the server was down holds here at once and there once it is back', async () => {
    const server = await startServer({ persistent: true })
    const cache = openCache({ redisUrl: server.url })
    for (const id of [1, 2, 3]) {
      await cache.put('user', { id }, 'old')
    }
    await cache.put('order', { id: 1 }, 'old')
    await cache.put('kept', { id: 1 }, 'kept')
    await server.kill()
    expect(await cache.purge('user', { id: 1 })).toBe(0)
    expect(await cache.purge('order')).toBe(0)
    expect(cache.stats()).toMatchObject({ deferredPurges: 2, pendingPurges: 2 })

    await server.restart()
    const observer = await server.observe()
    while (cache.stats().pendingPurges > 0) {
      const [purged, purgedToo] = await Promise.all([cache.get('user', { id: 1 }), cache.get('order', { id: 1 })])
      expect([purged, purgedToo]).toEqual([null, null])
    }
    expect(await observer.exists([cache.deriveKey('user', { id: 1 }), cache.deriveKey('order', { id: 1 })])).toBe(0)
    await eventually('what was not purged is read', async () => (await cache.get('kept', { id: 1 })) === 'kept')
    expect(await cache.get('user', { id: 2 })).toBe('old')
    expect(await cache.put('user', { id: 1 }, 'new')).toBe(true)
    expect(await cache.get('user', { id: 1 })).toBe('new')
  })

  test('one made while the server stood still is never followed by what it purged', async () => {
    const server = await startServer()
    const cache = openCache({ redisUrl: server.url })
    await cache.put('user', {}, 'old')
    await server.pause()
    expect(await cache.purge('user', {})).toBe(0)
    server.resume()
    while (cache.stats().pendingPurges > 0) {
      expect(await cache.get('user', {})).toBe(null)
    }
    await storesAgain(cache)
    expect(await cache.get('user', {})).toBe(null)
  })

  /** A server that answers, and refuses only what a purge needs: so that what is kept is seen beside what Redis has. */
  async function startRefusing(
    commands: string,
  ): Promise<{ server: RedisServer; url: string; allow(): Promise<void> }> {
    const server = await startServer({ config: [`user app on >secret ~* +@all ${commands}`] })
    const observer = await server.observe()
    return {
      server,
      url: server.url.replace('//', '//app:secret@'),
      allow: async () => {
        await observer.aclSetUser('app', '+@all')
      },
    }
  }

  test.each([
    ['an entry', '-unlink', (cache: Cache) => cache.purge('user', { id: 1 }), { user2: 'old', order: 'old' }],
    ['a context', '-scan', (cache: Cache) => cache.purge('user'), { user2: null, order: 'old' }],
    ['everything', '-scan', (cache: Cache) => cache.clear(), { user2: null, order: null }],
  ])('the kept purge of %s makes it missing here, and only that', async (_, refused, purge, left) => {
    const { server, url, allow } = await startRefusing(refused)
    const observer = await server.observe()
    const cache = openCache({ redisUrl: url })
    const unaware = openCache({ redisUrl: url })
    const lease = (await cache.lookup('user', { id: 3 })).lease
    for (const [context, id] of [
      ['user', 1],
      ['user', 2],
      ['order', 1],
    ] as const) {
      expect(await cache.put(context, { id }, 'old')).toBe(true)
    }

    expect(await purge(cache)).toBe(0)

    expect(cache.stats()).toMatchObject({ pendingPurges: 1, deferredPurges: 1, circuit: 'closed' })
    // Redis has it all the same.
    expect(await unaware.get('user', { id: 1 })).toBe('old')
    expect(await cache.get('user', { id: 1 })).toBe(null)
    expect(await cache.getBytes('user', { id: 1 })).toBe(null)
    expect(await cache.lookup('user', { id: 1 })).toEqual(NOTHING)
    expect(await cache.put('user', { id: 1 }, 'would go with the purge')).toBe(false)
    expect(await cache.get('user', { id: 2 })).toBe(left.user2)
    expect(await cache.get('order', { id: 1 })).toBe(left.order)
    // A lease from before is as good as its entry.
    expect(await cache.put('user', { id: 3 }, 'x', { lease })).toBe(left.user2 !== null)

    await allow()

    await eventually('the purge is delivered', () => cache.stats().pendingPurges === 0)
    expect(await observer.exists(cache.deriveKey('user', { id: 1 }))).toBe(0)
    expect(await unaware.get('user', { id: 2 })).toBe(left.user2)
    expect(await unaware.get('order', { id: 1 })).toBe(left.order)
    expect(await cache.put('user', { id: 1 }, 'new')).toBe(true)
    expect(await cache.get('user', { id: 1 })).toBe('new')
  })

  test('close delivers what is kept', async () => {
    const { server, url, allow } = await startRefusing('-unlink')
    const observer = await server.observe()
    const cache = openCache({ redisUrl: url })
    await cache.put('user', {}, 'old')
    await cache.purge('user', {})
    const closed = cache.close()
    await allow()
    await closed
    expect(cache.stats()).toMatchObject({ pendingPurges: 0, deferredPurges: 1 })
    expect(await observer.exists(cache.deriveKey('user', {}))).toBe(0)
    await eventually('no connection is left', async () => (await countConnections(observer)) === 0)
  })

  test('close waits for a purge that is under way', async () => {
    const server = await startServer({ config: ['enable-debug-command local'] })
    const observer = await server.observe()
    await observer.sendCommand(['DEBUG', 'POPULATE', '300000', 'foreign', '1'])
    const cache = openCache({ redisUrl: server.url })
    await cache.put('user', {}, 'old')
    const purge = cache.purge('user')
    await eventually('the pass has begun', async () => (await countCalls(observer, 'scan')) > 0)
    await cache.close()
    expect(await purge).toBe(1)
    expect(await observer.dbSize()).toBe(300_000)
  })

  test('of many each is pending by itself, and none becomes broader', async () => {
    const { server, url, allow } = await startRefusing('-unlink')
    const observer = await server.observe()
    // Redis refuses the purges at once; only storing so much takes its time on a busy machine.
    const cache = openCache({ redisUrl: url, commandTimeoutMs: 60_000 })
    const COUNT = 10_500
    const ids = Array.from({ length: COUNT }, (_, id) => id)
    for (const start of [0, 3500, 7000]) {
      const stored = await Promise.all(ids.slice(start, start + 3500).map((id) => cache.put('user', { id }, 'old')))
      expect(stored).not.toContain(false)
      await Promise.all(ids.slice(start, start + 3500).map((id) => cache.purge('user', { id })))
    }
    expect(cache.stats()).toMatchObject({ deferredPurges: COUNT, pendingPurges: COUNT })
    expect(await cache.get('user', { id: COUNT - 1 })).toBe(null)
    expect(await cache.put('user', { id: COUNT }, 'not purged')).toBe(true)
    expect(await cache.get('user', { id: COUNT })).toBe('not purged')
    await allow()
    await eventually('the purges are delivered', () => cache.stats().pendingPurges === 0)
    expect(await observer.dbSize()).toBe(1)
  })
})

test('beyond maxInFlight reads miss, writes are dropped and purges pend, at once', async () => {
  const server = await startServer()
  const cache = openCache({ redisUrl: server.url, maxInFlight: 2, commandTimeoutMs: 60_000 })
  await cache.put('user', { id: 1 }, 'old')
  await server.pause()
  const underWay = [cache.get('user', { id: 1 }), cache.put('user', { id: 2 }, 'x')]
  await eventually('two calls are under way', () => cache.stats().inFlight === 2)

  expect(await cache.get('user', { id: 1 })).toBe(null)
  expect(await cache.lookup('user', { id: 1 })).toEqual(NOTHING)
  expect(await cache.put('user', { id: 3 }, 'x')).toBe(false)
  expect(await cache.purge('user', { id: 1 })).toBe(0)
  expect(cache.stats()).toMatchObject({ failedReads: 2, failedWrites: 1, pendingPurges: 1, timeouts: 0 })

  server.resume()
  const [read, stored] = await Promise.all(underWay)
  // The read began before the purge, so that either answer is right.
  expect([null, 'old']).toContain(read)
  expect(stored).toBe(true)
  await eventually('the purge is delivered', () => cache.stats().pendingPurges === 0)
  expect(await cache.get('user', { id: 1 })).toBe(null)
})
