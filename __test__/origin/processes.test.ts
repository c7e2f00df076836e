import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { getOrLoad } from '../../origin/index.ts'
import { countCalls, type Observer, RedisServer } from '../support/redis-server.ts'
import type { FromLoader, ToLoader } from './load-process.ts'
import { deferred, HAS_REDIS, openCache, SECRET } from './support.ts'

/** Long enough to be within the bound however slow the machine is. */
const PATIENT = 30_000

let server: RedisServer
let observer: Observer

describe.skipIf(!HAS_REDIS)('two processes on one Redis', () => {
  beforeAll(async () => {
    server = await RedisServer.start()
    observer = await server.observe()
  })

  afterAll(() => server?.stop())

  beforeEach(async () => {
    await observer.flushAll()
  })

  test('two thousand concurrent misses in two processes load once', async () => {
    const here = openCache({ redisUrl: server.url, commandTimeoutMs: 20_000 })
    const there = await Loader.start()
    const gate = deferred<string>()
    const load = vi.fn(() => gate.promise)
    const answers = callHere(here, 1000, load)
    await vi.waitFor(() => expect(here.stats()).toMatchObject({ misses: 1000, inFlight: 0 }), PATIENT)
    const before = await countLookups()
    there.send({ callers: 1000, waitMs: PATIENT })
    // All of them have found the lease of this process: the first alone, the others together.
    await vi.waitFor(async () => expect(await countLookups()).toBeGreaterThanOrEqual(before + 2), PATIENT)
    gate.resolve('once')
    expect(new Set(await answers)).toEqual(new Set(['once']))
    expect(await there.given()).toEqual(['once'])
    expect([load.mock.calls.length, there.loads]).toEqual([1, 0])
  })

  test('a purge in the middle splits them: who comes after it in another process is not given the older load', async () => {
    const here = openCache({ redisUrl: server.url, commandTimeoutMs: 20_000 })
    const there = await Loader.start()
    const gate = deferred<string>()
    const load = vi.fn(() => gate.promise)
    const before = callHere(here, 1000, load)
    // All of them have found the lease that the first took.
    await vi.waitFor(() => expect(here.stats()).toMatchObject({ misses: 1000, inFlight: 0 }), PATIENT)
    await here.purge('user', { user_id: 5 })
    there.send({ callers: 1000, waitMs: PATIENT })
    await vi.waitFor(() => expect(there.loads).toBe(1), PATIENT)
    gate.resolve('old')
    expect(new Set(await before)).toEqual(new Set(['old']))
    there.send({ read: 'new' })
    expect(await there.given()).toEqual(['new'])
    await vi.waitFor(async () => expect(await here.get('user', { user_id: 5 })).toBe('new'))
    expect([load.mock.calls.length, there.loads]).toEqual([1, 1])
  })

  test('when the bound is over each process has loaded once, and one of them has stored', async () => {
    const here = openCache({ redisUrl: server.url, commandTimeoutMs: 20_000 })
    const there = await Loader.start()
    const gate = deferred<string>()
    const load = vi.fn(() => gate.promise)
    const answers = callHere(here, 1000, load)
    await vi.waitFor(() => expect(load).toHaveBeenCalled())
    there.send({ callers: 1000, waitMs: 20 })
    await vi.waitFor(() => expect(there.loads).toBe(1), PATIENT)
    there.send({ read: 'read there' })
    expect(await there.given()).toEqual(['read there'])
    gate.resolve('read here')
    expect(new Set(await answers)).toEqual(new Set(['read here']))
    await vi.waitFor(async () => expect(await here.get('user', { user_id: 5 })).toBe('read here'))
    expect([load.mock.calls.length, there.loads]).toEqual([1, 1])
  })
})

function callHere(
  cache: ReturnType<typeof openCache>,
  callers: number,
  load: () => Promise<string>,
): Promise<string[]> {
  return Promise.all(Array.from({ length: callers }, () => getOrLoad(cache, 'user', { user_id: 5 }, {}, load)))
}

/** How many lookups Redis has answered; nothing else is a script here before a value is stored. */
function countLookups(): Promise<number> {
  return countCalls(observer, 'evalsha')
}

/** The other process. */
class Loader {
  loads = 0
  readonly #child: ChildProcess
  readonly #given = deferred<readonly string[]>()

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(): Promise<Loader> {
    const program = fileURLToPath(new URL('load-process.ts', import.meta.url))
    const child = fork(program, [SECRET, server.url], { execArgv: ['--import', 'tsx'] })
    onTestFinished(() => {
      child.kill()
    })
    const loader = new Loader(child)
    const ready = deferred()
    child.on('message', (message: FromLoader) => {
      if (message === 'ready') ready.resolve()
      else if (message === 'loading') loader.loads += 1
      else loader.#given.resolve(message.given)
    })
    await ready.promise
    return loader
  }

  send(message: ToLoader): void {
    this.#child.send(message)
  }

  given(): Promise<readonly string[]> {
    return this.#given.promise
  }
}
