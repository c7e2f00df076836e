/** What is done to each cache. A script says in a few words what the cache did. */

import { setTimeout as pause } from 'node:timers/promises'
import { RedisCluster } from '../../__test__/support/redis-cluster.ts'
import { RedisServer } from '../../__test__/support/redis-server.ts'
import type { Open, Peer } from './peer.ts'

/** A call that takes longer has hung. */
const PATIENCE_MS = 12_000
/** What a service that wants an answer soon gives its cache. */
const COMMAND_TIMEOUT_MS = 100
/** Where nothing is wrong with Redis: no call shall fail because it takes its time. */
const GENEROUS_TIMEOUT_MS = 5_000
/** In which a store that an answer did not wait for has long been done. */
const STORED_MS = 200

const fresh = async () => 'fresh'

/** A load that reads the old value at once and returns it when it is let. */
function heldLoad() {
  let release = () => {}
  let begun = () => {}
  const hasBegun = new Promise<void>((resolve) => {
    begun = resolve
  })
  const mayEnd = new Promise<void>((resolve) => {
    release = resolve
  })
  const load = async () => {
    begun()
    await mayEnd
    return 'stale'
  }
  return { load, hasBegun, release: () => release() }
}

async function withServer(work: (server: RedisServer) => Promise<string>): Promise<string> {
  const server = await RedisServer.start()
  try {
    return await work(server)
  } finally {
    await server.stop()
  }
}

/** A purge by another process falls into a fill: what is read afterwards? */
export const fillRace = (open: Open) =>
  withServer(async (server) => {
    const [reader, other] = [await open(on(server)), await open(on(server))]
    await warmUp(reader)
    await warmUp(other)
    const { load, hasBegun, release } = heldLoad()
    const filling = reader.getOrLoad('entry', load)
    await hasBegun
    await other.purge('entry')
    release()
    await filling
    await pause(STORED_MS)
    const read = await other.getOrLoad('entry', fresh)
    await Promise.all([reader.close(), other.close()])
    return read === 'stale' ? '**stale** until it expires' : 'fresh'
  })

/** A read that begins after a purge, while a load that began before it runs in the same process. */
export const joinRace = (open: Open) =>
  withServer(async (server) => {
    const cache = await open(on(server))
    await warmUp(cache)
    const { load, hasBegun, release } = heldLoad()
    const loading = cache.getOrLoad('entry', load)
    await hasBegun
    await cache.purge('entry')
    const reading = cache.getOrLoad('entry', fresh)
    await pause(STORED_MS)
    release()
    const [read] = await Promise.all([reading, loading])
    await cache.close()
    return read === 'stale' ? '**joins it: stale**' : 'fresh'
  })

/** A server that stands still, and goes on. */
export const frozen = (open: Open) =>
  withServer(async (server) => {
    const cache = await open(on(server))
    await warmUp(cache)
    await server.pause()
    const calls = await callsDuringFault(cache)
    server.resume()
    const again = await storesAgain(cache)
    await cache.close()
    return `${calls}; stores again after ${again}`
  })

/** A server that is killed, and started again. */
export const killed = (open: Open) =>
  withServer(async (server) => {
    const cache = await open(on(server))
    await warmUp(cache)
    await server.kill()
    const calls = await callsDuringFault(cache)
    await server.restart()
    const again = await storesAgain(cache)
    await cache.close()
    return `${calls}; stores again after ${again}`
  })

const ENTRIES = 3_000

/** A purge of all entries of a namespace on three primaries. */
export const clusterPurge = async (open: Open): Promise<string> => {
  const cluster = await RedisCluster.start()
  try {
    const cache = await open({ cluster: cluster.urls, namespace: 'user', commandTimeoutMs: GENEROUS_TIMEOUT_MS })
    if (cache.purgeAll === undefined) return 'no such call'
    await warmUp(cache)
    for (let start = 0; start < ENTRIES; start += 100) {
      const loads = Array.from({ length: 100 }, (_, index) => cache.getOrLoad(`${start + index}`, fresh))
      await Promise.all(loads)
    }
    await pause(STORED_MS)
    const before = await countKeys(cluster)
    const said = await cache.purgeAll().then(
      () => '',
      (error: unknown) => `, and says so: ${error instanceof Error ? error.message : error}`,
    )
    const left = await countKeys(cluster)
    await cache.close()
    return `${left === 0 ? '0' : `**${left}**`} of ${before} left${said}`
  } finally {
    await cluster.stop()
  }
}

async function countKeys(cluster: RedisCluster): Promise<number> {
  const sizes = (await cluster.primaries()).map(({ observer }) => observer.dbSize())
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

/** Namespaces whose names mean something to MATCH. */
export const globCharacters = (open: Open) =>
  withServer(async (server) => {
    const observer = await server.observe()
    const results: string[] = []
    for (const [purged, other] of [
      ['user[1]', 'user1'],
      ['user*', 'user2'],
    ] as const) {
      await observer.flushAll()
      try {
        const [own, foreign] = [
          await open({ redisUrl: server.url, namespace: purged, commandTimeoutMs: GENEROUS_TIMEOUT_MS }),
          await open({ redisUrl: server.url, namespace: other, commandTimeoutMs: GENEROUS_TIMEOUT_MS }),
        ]
        if (own.purgeAll === undefined) return 'no such call'
        for (const cache of [own, foreign]) {
          for (let id = 0; id < 10; id += 1) await cache.getOrLoad(`${id}`, fresh)
        }
        await pause(STORED_MS)
        const stored = await observer.dbSize()
        await own.purgeAll()
        const keys = await observer.keys('*')
        const foreignLeft = keys.filter((key) => key.includes(`${other}:`)).length
        const ownLeft = keys.length - foreignLeft
        const wrong = [
          ownLeft > 0 ? `**${ownLeft} of ${stored - 10} stay**` : '',
          foreignLeft < 10 ? `**${10 - foreignLeft} of \`${other}\` go too**` : '',
        ].filter((each) => each !== '')
        results.push(`\`${purged}\`: ${wrong.join(', ') || 'exactly its own go'}`)
        await Promise.all([own.close(), foreign.close()])
      } catch (error) {
        results.push(`\`${purged}\`: refused (${(error as { code?: string }).code ?? error})`)
      }
    }
    return results.join('; ')
  })

const on = (server: RedisServer) => ({
  redisUrl: server.url,
  namespace: 'user',
  commandTimeoutMs: COMMAND_TIMEOUT_MS,
})

/** Connections stand and something was stored. */
async function warmUp(cache: Peer): Promise<void> {
  await storesAgain(cache)
}

/** How long the first call takes, and the longest of the next ones. */
async function callsDuringFault(cache: Peer): Promise<string> {
  const first = await duration(cache, 'first')
  const later: number[] = []
  for (let call = 0; call < 5 && (later.at(-1) ?? first) < PATIENCE_MS; call += 1) {
    later.push(await duration(cache, `later${call}`))
  }
  const longest = later.length === 0 ? 'not tried' : describe(Math.max(...later))
  return `first call ${describe(first)}, later ones ${longest}`
}

async function duration(cache: Peer, name: string): Promise<number> {
  const start = performance.now()
  const call = cache.getOrLoad(name, fresh).catch(() => {})
  const hangs = new AbortController()
  await Promise.race([call, pause(PATIENCE_MS, undefined, { signal: hangs.signal }).catch(() => {})])
  hangs.abort()
  return performance.now() - start
}

const describe = (milliseconds: number) =>
  milliseconds >= PATIENCE_MS ? '**over 12 s**' : `${Math.ceil(milliseconds)} ms`

let names = 0

/** How long it takes until something is stored: the second of two calls returns what the first has loaded. */
async function storesAgain(cache: Peer): Promise<string> {
  const start = performance.now()
  while (performance.now() - start < 2 * PATIENCE_MS) {
    const name = `probe${names++}`
    let loads = 0
    const load = async () => `${++loads}`
    const attempt = (async () => {
      const first = await cache.getOrLoad(name, load).catch(() => null)
      await pause(20)
      const second = await cache.getOrLoad(name, load).catch(() => null)
      return first !== null && second === first
    })()
    const stored = await Promise.race([attempt, pause(1_000, false)])
    if (stored) {
      const took = performance.now() - start
      return took < 1_000 ? `${Math.ceil(took)} ms` : `${(took / 1_000).toFixed(1)} s`
    }
  }
  return '**over 24 s**'
}
