/**
 * A service with one cache: requests that read through it, mutations that purge, and purges of old entries. It knows
 * what it stored and when it purged, and so which answers are wrong. Arguments: the cache's options, and whether to
 * write values of 50 KB as fast as the cache takes them. Its parent sends the names of calls; each is answered.
 */

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import { Cache } from '../../cache/index.ts'
import { getOrLoad, type OriginCache } from '../../origin/index.ts'
import { eventually } from '../support/eventually.ts'
import type { Expectation, LoadCalls, Measured } from './load.ts'

const [options, heavy] = process.argv.slice(2).map((argument) => JSON.parse(argument))

const READERS = 16
const MUTATORS = 4
const WRITERS = heavy ? 128 : 4
/** What each of them waits between two requests: a load that two cores bear, not the most they bear. */
const BETWEEN_REQUESTS_MS = 5
const LARGE_VALUE = 'x'.repeat(50_000)

const CONTEXTS = 4
const ENTRIES = 100
const OLD_ENTRIES = 1_500
const PURGE_OLD_EVERY_MS = 10
const OLD_CONTEXTS = 10
const OLD_IN_A_CONTEXT = 20
const PURGE_OLD_CONTEXT_EVERY_MS = 500

const cache = new Cache({ secret: 'a secret of the fault campaign, long enough', ...options })
const eventLoop = monitorEventLoopDelay({ resolution: 5 })

const measured: Measured = {
  calls: 0,
  requests: 0,
  failed: 0,
  stale: 0,
  longestCall: 0,
  longestWithOpenCircuit: 0,
  longestBroadPurge: 0,
  longestPause: 0,
  purges: 0,
  deferredPurges: 0,
  storedAgainAfter: 0,
  memoryGrowth: 0,
}
let isMeasuring = false
let isOver = false

/** Runs a call of the cache and notes how long it took. */
async function timed<T>(call: () => Promise<T>, isBroadPurge = false): Promise<T> {
  const isOpen = cache.stats().circuit === 'open'
  const start = performance.now()
  try {
    return await call()
  } finally {
    const took = performance.now() - start
    if (isMeasuring) {
      measured.calls += 1
      const longest = isBroadPurge ? 'longestBroadPurge' : 'longestCall'
      measured[longest] = Math.max(measured[longest], took)
      if (isOpen) {
        measured.longestWithOpenCircuit = Math.max(measured.longestWithOpenCircuit, took)
      }
    }
  }
}

const timedCache: OriginCache = {
  deriveKey: (...call) => cache.deriveKey(...call),
  peek: (...call) => cache.peek(...call),
  lookup: (...call) => timed(() => cache.lookup(...call)),
  put: (...call) => timed(() => cache.put(...call)),
  release: (...call) => timed(() => cache.release(...call)),
  purge: (...call) => {
    measured.purges += isMeasuring ? 1 : 0
    return timed(() => cache.purge(...call), call[1] === undefined)
  },
}

/** Runs one request after another until the load is over. */
async function repeat(betweenMilliseconds: number, request: () => Promise<unknown>): Promise<void> {
  while (!isOver) {
    try {
      await request()
    } catch (error) {
      console.error(error)
      measured.failed += 1
    }
    measured.requests += isMeasuring ? 1 : 0
    await pause(betweenMilliseconds)
  }
}

/** An entry that is read, changed and purged again and again. */
class Entry {
  readonly context: string
  readonly params: { id: number }
  /** What the database has. */
  version = 0
  /** What the newest completed purge made way for: nothing older may be read any more. */
  purged = 0

  constructor(context: string, id: number) {
    this.context = context
    this.params = { id }
  }

  async read(): Promise<void> {
    const oldestAllowed = this.purged
    const load = () => String(this.version)
    this.#check(await getOrLoad(timedCache, this.context, this.params, {}, load), oldestAllowed)
  }

  async readCacheOnly(): Promise<void> {
    const oldestAllowed = this.purged
    this.#check(await timed(() => cache.get(this.context, this.params)), oldestAllowed)
  }

  async change(): Promise<void> {
    const version = ++this.version
    await timedCache.purge(this.context, this.params)
    this.purged = Math.max(this.purged, version)
  }

  #check(value: string | null, oldestAllowed: number): void {
    measured.stale += value !== null && Number(value) < oldestAllowed ? 1 : 0
  }
}

const entries = Array.from(
  { length: CONTEXTS * ENTRIES },
  (_, number) => new Entry(`hot${number % CONTEXTS}`, Math.floor(number / CONTEXTS)),
)

const any = <T>(choices: T[]): T => choices[Math.floor(Math.random() * choices.length)] as T

async function changeContext(): Promise<void> {
  const context = `hot${Math.floor(Math.random() * CONTEXTS)}`
  const versions = entries
    .filter((entry) => entry.context === context)
    .map((entry) => ({ entry, version: ++entry.version }))
  await timedCache.purge(context)
  for (const { entry, version } of versions) {
    entry.purged = Math.max(entry.purged, version)
  }
}

/** Entries that are stored once, purged once, and must never be seen again. */
const gone: { context: string; params: { id: number } }[] = []
const oldEntries = Array.from({ length: OLD_ENTRIES }, (_, id) => ({ context: 'old', params: { id } }))
const oldContexts = Array.from({ length: OLD_CONTEXTS }, (_, number) =>
  Array.from({ length: OLD_IN_A_CONTEXT }, (_, id) => ({ context: `old${number}`, params: { id } })),
)

async function purgeNextOld(): Promise<void> {
  const next = oldEntries.pop()
  if (next !== undefined) {
    await timedCache.purge(next.context, next.params)
    gone.push(next)
  }
}

async function purgeNextOldContext(): Promise<void> {
  const next = oldContexts.pop()
  if (next !== undefined) {
    await timedCache.purge(next[0]?.context ?? '')
    gone.push(...next)
  }
}

async function readGone(): Promise<void> {
  if (gone.length > 0) {
    const { context, params } = any(gone)
    measured.stale += (await timed(() => cache.get(context, params))) === null ? 0 : 1
  }
}

let largeValues = 0
const putLarge = () => timedCache.put('large', { id: largeValues++ % 500 }, LARGE_VALUE)

const several = (count: number, work: () => Promise<void>) => Array.from({ length: count }, work)

let load: Promise<unknown> = Promise.resolve()
let mostMemory = 0
let postponedBefore = 0

const calls: LoadCalls = {
  async start() {
    for (const { context, params } of [...oldEntries, ...oldContexts.flat()]) {
      await eventually('an old entry is stored', () => cache.put(context, params, 'old'))
    }
    load = Promise.all([
      ...several(READERS, () => repeat(BETWEEN_REQUESTS_MS, () => any(entries).read())),
      ...several(READERS, () => repeat(BETWEEN_REQUESTS_MS, () => any(entries).readCacheOnly())),
      ...several(MUTATORS, () => repeat(2 * BETWEEN_REQUESTS_MS, () => any(entries).change())),
      ...several(WRITERS, () => repeat(heavy ? 0 : 4 * BETWEEN_REQUESTS_MS, putLarge)),
      repeat(PURGE_OLD_CONTEXT_EVERY_MS, changeContext),
      repeat(BETWEEN_REQUESTS_MS, readGone),
    ])
    setInterval(() => {
      mostMemory = Math.max(mostMemory, process.memoryUsage.rss())
    }, 20).unref()
  },

  async faultBegins() {
    measured.memoryGrowth = -mostMemory
    postponedBefore = cache.stats().deferredPurges
    eventLoop.enable()
    isMeasuring = true
    load = Promise.all([
      load,
      repeat(PURGE_OLD_EVERY_MS, purgeNextOld),
      repeat(PURGE_OLD_CONTEXT_EVERY_MS, purgeNextOldContext),
    ])
  },

  async faultIsOver() {
    const over = performance.now()
    await eventually('a value is stored', () => timed(() => cache.put('probe', {}, 'x')), 60_000)
    measured.storedAgainAfter = performance.now() - over
  },

  async finish() {
    isOver = true
    await load
    await eventually('Redis has every purge', () => cache.stats().pendingPurges === 0, 60_000).catch((error) => {
      console.error(cache.stats())
      throw error
    })
    measured.longestPause = eventLoop.max / 1e6
    measured.deferredPurges = cache.stats().deferredPurges - postponedBefore
    measured.memoryGrowth += mostMemory
    const expectation: Expectation = {
      gone: gone.map(({ context, params }) => cache.deriveKey(context, params)),
      atLeast: entries.map(({ context, params, purged }) => [cache.deriveKey(context, params), purged]),
    }
    await cache.close()
    return { ...measured, ...expectation }
  },
}

process.on('message', async (name: keyof LoadCalls) => {
  process.send?.((await calls[name]()) ?? null)
})
process.on('disconnect', () => process.exit())
