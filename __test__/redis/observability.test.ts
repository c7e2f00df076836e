/** What caches tell of themselves (docs/observability.md): counters, messages, log entries, and nothing that is secret. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { inspect, isDeepStrictEqual } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, type LogEntry, onLog } from '../../cache/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache } from '../support/redis-cache.ts'
import { findFreePort, RedisServer, type RedisServerOptions } from '../support/redis-server.ts'

const CHANNELS = ['get', 'put', 'purge', 'error', 'circuit', 'connection', 'pending-purges']

async function startServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await RedisServer.start(options)
  onTestFinished(() => server.stop())
  return server
}

/** The messages of a channel from now on. */
function listen(name: string): Record<string, unknown>[] {
  const messages: Record<string, unknown>[] = []
  const receive = (message: unknown) => {
    messages.push(message as Record<string, unknown>)
  }
  subscribe(`mizan:cache:${name}`, receive)
  onTestFinished(() => {
    unsubscribe(`mizan:cache:${name}`, receive)
  })
  return messages
}

/** The log from now on. */
function readLog(): LogEntry[] {
  const entries: LogEntry[] = []
  onTestFinished(onLog((entry) => entries.push(entry)))
  return entries
}

const duration = expect.any(Number)

describe('a call', () => {
  test('is published when it ends, with what came of it', async () => {
    const [gets, puts, purges] = [listen('get'), listen('put'), listen('purge')]
    const cache = openCache()
    const { lease } = await cache.lookup('user', { id: 1 })
    await cache.put('user', { id: 1 }, 'Ada', { lease })
    await cache.put('user', { id: 1 }, 'Ada', { lease })
    await cache.lookup('user', { id: 1 })
    await cache.get('user', { id: 1 })
    await cache.get('user', { id: 2 })
    await cache.getBytes('user', { id: 1 })
    cache.peek('user', { id: 1 })
    // The read that follows a peek in vain is the one that counts.
    cache.peek('user', { id: 2 })
    await cache.purge('user', { id: 1 })
    await cache.purge('user')
    await cache.clear()
    const context = 'user'
    expect(gets).toEqual([
      { operation: 'lookup', context, outcome: 'miss', duration },
      { operation: 'lookup', context, outcome: 'hit', duration },
      { operation: 'get', context, outcome: 'hit', duration },
      { operation: 'get', context, outcome: 'miss', duration },
      { operation: 'getBytes', context, outcome: 'hit', duration },
      { operation: 'peek', context, outcome: 'hit', duration },
    ])
    expect(puts).toEqual([
      { operation: 'put', context, outcome: 'stored', duration },
      { operation: 'put', context, outcome: 'refused', duration },
    ])
    expect(purges).toEqual([
      { operation: 'purge', context, scope: 'entry', outcome: 'purged', entries: 1, duration },
      { operation: 'purge', context, scope: 'context', outcome: 'purged', entries: 0, duration },
      { operation: 'clear', context: null, scope: 'everything', outcome: 'purged', entries: 0, duration },
    ])
  })

  test('that is rejected is published with the code, and is still rejected', async () => {
    const [gets, puts, purges] = [listen('get'), listen('put'), listen('purge')]
    const cache = openCache()
    await cache.close()
    const code = 'ERR_MIZAN_CLOSED'
    await expect(cache.get('user', {})).rejects.toMatchObject({ code })
    await expect(cache.put('user', {}, 'x')).rejects.toMatchObject({ code })
    await expect(cache.purge('user', {})).rejects.toMatchObject({ code })
    expect(gets).toEqual([{ operation: 'get', context: 'user', outcome: 'error', code, duration }])
    expect(puts).toMatchObject([{ outcome: 'error', code }])
    expect(purges).toMatchObject([{ outcome: 'error', code }])
  })

  test('is published before its caller goes on, also on Redis', async () => {
    const server = await startServer()
    const gets = listen('get')
    const cache = openCache({ redisUrl: server.url })
    await Promise.all([cache.get('user', { id: 1 }), cache.get('user', { id: 2 }), cache.lookup('user', { id: 3 })])
    expect(gets.map(({ outcome }) => outcome)).toEqual(['miss', 'miss', 'miss'])
  })

  test('is published once where many are read together, and where there are copies', async () => {
    const server = await startServer()
    const cache = openCache({ redisUrl: server.url, local: {} })
    const ids = Array.from({ length: 20 }, (_, id) => id)
    await Promise.all(ids.map((id) => cache.put('user', { id }, 'x')))
    const gets = listen('get')
    const readAll = () =>
      Promise.all(
        ids.flatMap((id) => [
          cache.get('user', { id }),
          cache.getBytes('user', { id }),
          cache.lookup('user', { id }),
          cache.get('nobody', { id }),
        ]),
      )
    await readAll()
    await eventually('there are copies', () => ids.every((id) => cache.peek('user', { id }) !== null))
    const peeks = gets.filter(({ operation }) => operation === 'peek').length
    await readAll()
    expect(cache.stats().localHits).toBeGreaterThanOrEqual(3 * ids.length)
    const count = (operation: string, context: string, outcome: string) =>
      gets.filter((message) =>
        isDeepStrictEqual({ ...message, duration: 0 }, { operation, context, outcome, duration: 0 }),
      ).length
    const each = 2 * ids.length
    expect(['get', 'getBytes', 'lookup'].map((operation) => count(operation, 'user', 'hit'))).toEqual([
      each,
      each,
      each,
    ])
    expect(count('get', 'nobody', 'miss')).toBe(each)
    expect(gets).toHaveLength(4 * each + peeks)
  })
})

describe('latency', () => {
  test('counts each call that Redis was asked for, once', async () => {
    const server = await startServer()
    const cache = openCache({ redisUrl: server.url, local: {} })
    const ids = Array.from({ length: 20 }, (_, id) => id)
    // Together: those that miss are asked for a second time, for their leases.
    const found = await Promise.all(ids.map((id) => cache.lookup('user', { id })))
    await Promise.all(found.map(({ lease }, id) => cache.put('user', { id }, 'x', { lease })))
    await cache.get('user', { id: 1 })
    await eventually('there is a copy', () => cache.peek('user', { id: 1 }) !== null)
    await cache.get('user', { id: 1 })
    await cache.purge('user', { id: 1 })
    await cache.purge('user')
    const { latency, localHits } = cache.stats()
    expect(localHits).toBeGreaterThan(0)
    expect([latency.read.count, latency.write.count, latency.purge.count]).toEqual([21, 20, 2])
  })

  test('is a histogram whose parts agree', async () => {
    const server = await startServer()
    const cache = openCache({ redisUrl: server.url })
    await cache.get('user', {})
    const { bounds, counts, count, sum } = cache.stats().latency.read
    expect(bounds).toEqual([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000])
    expect(counts).toHaveLength(bounds.length + 1)
    expect(counts.reduce((all, each) => all + each)).toBe(count)
    expect(count).toBe(1)
    expect(sum).toBeGreaterThan(0)
    const bucket = counts.indexOf(1)
    expect(sum).toBeLessThanOrEqual(bounds[bucket] ?? Number.POSITIVE_INFINITY)
    expect(sum).toBeGreaterThan(bounds[bucket - 1] ?? 0)
  })

  test('has no calls of a cache in memory, nor such as return at once', async () => {
    const memory = openCache()
    await memory.get('user', {})
    expect(memory.stats().latency.read.count).toBe(0)
    const cache = openCache({ redisUrl: `redis://127.0.0.1:${await findFreePort()}` })
    await cache.get('user', {})
    await eventually('the circuit is open', () => cache.stats().circuit === 'open')
    const { latency, failedReads } = cache.stats()
    await cache.get('user', {})
    expect(cache.stats()).toMatchObject({ latency, failedReads: failedReads + 1 })
  })
})

describe('on Redis', () => {
  test('the connection and the circuit are told as they change', async () => {
    const server = await startServer()
    const [connection, circuit, log] = [listen('connection'), listen('circuit'), readLog()]
    const cache = openCache({ redisUrl: server.url })
    await eventually('it is used', () => cache.put('user', {}, 'x'))
    await eventually('the connection is told', () => circuit.length === 2)
    expect(connection).toEqual([{ state: 'made' }])
    expect(circuit).toEqual([{ state: 'connecting' }, { state: 'closed' }])
    await server.kill()
    await eventually('it is told', () => connection.length === 3)
    expect(connection.slice(1)).toEqual([{ state: 'lost' }, { state: 'failed', reason: 'refused' }])
    expect(circuit.at(-1)).toEqual({ state: 'open' })
    await server.restart()
    await eventually('the circuit is closed', () => circuit.at(-1)?.state === 'closed')
    expect(connection.at(-1)).toEqual({ state: 'made' })
    await cache.close()
    await eventually('the end is told', () => connection.at(-1)?.state === 'closed')
    // To close a cache is no trouble.
    expect(circuit.at(-1)).toEqual({ state: 'closed' })
    expect(log.map(({ level, event }) => `${level} ${event}`)).toEqual([
      'info circuit',
      'info connection',
      'info circuit',
      'warn connection',
      'warn circuit',
      'warn connection',
      'info connection',
      'info circuit',
      'info connection',
    ])
    expect(log[5]).toEqual({
      level: 'warn',
      event: 'connection',
      message: 'cannot connect to Redis',
      state: 'failed',
      reason: 'refused',
    })
  })

  test('a connection that cannot be made is told once for each reason', async () => {
    const server = await startServer({ config: ['requirepass right'] })
    const connection = listen('connection')
    const cache = openCache({ redisUrl: `redis://:wrong@127.0.0.1:${server.port}`, connectTimeoutMs: 1_000 })
    await cache.get('user', {})
    await eventually('the refusal is told', () => connection.length > 0)
    await server.pause()
    await eventually('the silence is told', () => connection.length > 1)
    await server.kill()
    await eventually('the absence is told', () => connection.at(-1)?.reason === 'refused')
    // Attempts that were being made when the server was killed broke.
    const reasons = connection.map(({ reason }) => reason).filter((reason) => reason !== 'broken')
    expect(reasons).toEqual(['credentials', 'timeout', 'refused'])
  })

  test('calls that are not answered are told together', async () => {
    const server = await startServer()
    const [errors, log] = [listen('error'), readLog()]
    // Long enough for all calls to begin before the first of them fail: later ones would return at once.
    const cache = openCache({ redisUrl: server.url, commandTimeoutMs: 1_000 })
    await cache.put('user', {}, 'x')
    await server.pause()
    const reads = Array.from({ length: 1000 }, (_, id) => cache.get('user', { id }))
    const puts = Array.from({ length: 1000 }, (_, id) => cache.put('user', { id }, 'x'))
    await Promise.all([...reads, ...puts, cache.purge('user', {})])
    await eventually('all is told', () => sum(errors, 'calls') === 2001)
    expect(['read', 'write', 'purge'].map((operation) => callsOf(errors, operation))).toEqual([1000, 1000, 1])
    expect(errors.map(({ reason }) => reason)).not.toContain('overload')
    expect(errors.length).toBeLessThan(200)
    const logged = log.filter(({ event }) => event === 'error')
    expect(logged.length).toBeLessThanOrEqual(errors.length)
    expect(logged[0]).toMatchObject({ level: 'warn', message: 'calls on Redis failed' })
  })

  test('what Redis refuses is told each time, and logged now and then', async () => {
    const server = await startServer()
    const observer = await server.observe()
    await observer.sendCommand(['ACL', 'SETUSER', 'guest', 'on', '>password', '~*', '&*', '+@connection'])
    const [errors, pending, log] = [listen('error'), listen('pending-purges'), readLog()]
    const cache = openCache({ redisUrl: `redis://guest:password@127.0.0.1:${server.port}` })
    await Promise.all([cache.get('user', {}), cache.put('user', {}, 'x'), cache.purge('user', {}), cache.purge('user')])
    await eventually('all is told', () => sum(errors, 'calls') === 4)
    expect(['read', 'write', 'purge'].map((operation) => callsOf(errors, operation))).toEqual([1, 1, 2])
    expect(new Set(errors.map(({ reason }) => reason))).toEqual(new Set(['refused']))
    expect(cache.stats()).toMatchObject({ failedReads: 1, failedWrites: 1, deferredPurges: 2 })
    // Each after the other, and so told by itself. The purges that are pending do not cover this context.
    await observer.sendCommand(['ACL', 'SETUSER', 'guest', '+unlink', '+scan'])
    await eventually('the purges are delivered', () => pending.some(({ state }) => state === 'delivered'))
    for (let id = 0; id < 200; id += 1) {
      await cache.get('user', { id })
    }
    await eventually('each read is told', () => callsOf(errors, 'read') === 201)
    const logged = log.filter((entry) => entry.event === 'error' && entry.operation === 'read')
    expect(logged.length).toBeLessThan(errors.length / 2)
  })

  test('calls beyond maxInFlight are told as such', async () => {
    const server = await startServer()
    const [errors, pending] = [listen('error'), listen('pending-purges')]
    const cache = openCache({ redisUrl: server.url, maxInFlight: 1, commandTimeoutMs: 200 })
    await cache.put('user', {}, 'x')
    await server.pause()
    await Promise.all([cache.put('other', {}, 'x'), cache.purge('user', {}), cache.get('other', {})])
    server.resume()
    await eventually('all is told', () => errors.length === 3)
    expect(errors).toEqual(
      expect.arrayContaining([
        { operation: 'write', reason: 'timeout', calls: 1 },
        { operation: 'purge', reason: 'overload', calls: 1 },
        { operation: 'read', reason: 'overload', calls: 1 },
      ]),
    )
    expect(pending[0]).toEqual({ state: 'pending', purges: 1 })
  })

  test('a purge is told when it is pending, when it is delivered, and when it is lost', async () => {
    const server = await startServer()
    const [pending, log] = [listen('pending-purges'), readLog()]
    const cache = openCache({ redisUrl: server.url, connectTimeoutMs: 200 })
    await cache.put('user', {}, 'x')
    await server.kill()
    await eventually('the circuit is open', () => cache.stats().circuit === 'open')
    await cache.purge('user', { id: 1 })
    await cache.purge('user', { id: 2 })
    await eventually('both are told', () => sum(pending, 'purges') === 2)
    await server.restart()
    // Together, or one after the other.
    await eventually('the delivery is told', () => sum(pending, 'purges') === 4)
    expect(pending.at(-1)).toMatchObject({ state: 'delivered' })
    await server.kill()
    await eventually('the circuit is open again', () => cache.stats().circuit === 'open')
    await cache.purge('order')
    await Promise.all([cache.close(), cache.close()])
    const purges = cache.stats().pendingPurges
    expect(purges).toBeGreaterThan(0)
    expect(pending.filter(({ state }) => state === 'lost')).toEqual([{ state: 'lost', purges }])
    expect(log.at(-1)).toEqual({
      level: 'error',
      event: 'pending-purges',
      message: 'the cache was closed with purges that Redis does not have',
      state: 'lost',
      purges,
    })
  })

  const callsOf = (errors: Record<string, unknown>[], operation: string) =>
    sum(
      errors.filter((error) => error.operation === operation),
      'calls',
    )
  const sum = (messages: Record<string, unknown>[], name: string) =>
    messages.reduce((total, message) => total + Number(message[name]), 0)
})

describe('a log listener', () => {
  test('that throws hurts nothing, neither at once nor later', async () => {
    const server = await startServer()
    let called = 0
    const removals = [
      onLog(() => {
        called += 1
        throw new Error('on purpose')
      }),
      onLog(async () => {
        called += 1
        throw new Error('on purpose')
      }),
    ]
    const log = readLog()
    const cache = openCache({ redisUrl: server.url })
    expect(await cache.put('user', {}, 'x')).toBe(true)
    await eventually('there is a log', () => log.length > 0)
    const calls = 2 * log.length
    expect(called).toBe(calls)
    for (const remove of removals) remove()
    await cache.close()
    await eventually('more is logged', () => 2 * log.length > calls)
    expect(called).toBe(calls)
  })
})

describe('nothing that is told', () => {
  const MARK = 'xyzzy'
  const SECRET = `${MARK}-secret of thirty-two bytes or more`
  const params = { [`${MARK}Name`]: `${MARK}-param` }
  const scope = { userId: `${MARK}-user` }

  /** Every sort of call; what is rejected or thrown is pending as well. */
  async function callEverything(cache: Cache, errors: unknown[]): Promise<void> {
    const calls = [
      () => cache.get('user', params, scope),
      () => cache.getBytes('user', params, scope),
      () => cache.lookup('user', params, scope),
      () => cache.put('user', params, `${MARK}-value`, scope),
      () => cache.purge('user', params, scope),
      () => cache.purge('user'),
      () => cache.get('user', { [`${MARK}Name`]: new Map([[MARK, MARK]]) } as never),
      () => cache.put('user', params, { value: MARK } as never),
      () => cache.put('user', params, 'x', { lease: MARK }),
    ]
    const ends = await Promise.allSettled(calls.map(async (call) => await call()))
    errors.push(...ends.filter(({ status }) => status === 'rejected'))
  }

  test('holds a secret, a key, a parameter, a user, a value or an address', async () => {
    const server = await startServer()
    const observer = await server.observe()
    await observer.sendCommand(['ACL', 'SETUSER', `${MARK}-guest`, 'on', `>${MARK}-password`, '~*', '&*', '+@all'])
    const told: Record<string, unknown[]> = Object.fromEntries(CHANNELS.map((name) => [name, listen(name)]))
    told.log = readLog()
    const errors: unknown[] = []
    told.errors = errors
    const redisUrl = `redis://${MARK}-guest:${MARK}-password@127.0.0.1:${server.port}`
    const cache = openCache({ secret: SECRET, redisUrl, commandTimeoutMs: 100, connectTimeoutMs: 200 })
    await callEverything(cache, errors)
    await observer.sendCommand(['ACL', 'SETUSER', `${MARK}-guest`, '-@all', '+@connection'])
    await callEverything(cache, errors)
    await server.pause()
    await callEverything(cache, errors)
    await server.kill()
    await callEverything(cache, errors)
    await cache.close()
    await callEverything(cache, errors)
    told.stats = [cache.stats()]

    for (const [name, messages] of Object.entries(told)) {
      expect(messages.length, name).toBeGreaterThan(0)
      // Both ways: JSON leaves out what `inspect` shows, and the other way round.
      const texts = [JSON.stringify(messages), inspect(messages, { depth: null, showHidden: true })]
      for (const text of texts.map(withoutStacks)) {
        // The name of a parameter is what an error is to tell: `params.xyzzyName`.
        const unnamed = name === 'errors' ? text.replaceAll(`${MARK}Name`, '') : text
        expect(unnamed, name).not.toContain(MARK)
        expect(text, name).not.toMatch(/[0-9a-f]{32}/)
        expect(text, name).not.toContain('127.0.0.1')
      }
    }
  })

  /** A stack shows this file's own path and lines. */
  const withoutStacks = (text: string) => text.replace(/^\s*at .*$/gm, '')
})
