import { type ArmProcess, type Description, withArms } from '../arm.ts'
import type { Metric } from '../results.ts'
import { interleave } from '../rounds.ts'
import { quantile } from '../statistics.ts'
import type { Log, Mix } from '../tasks.ts'
import { type Case, KB, SPEED, withRedis } from './case.ts'

const MIX = { milliseconds: 1_500, entries: 100_000, bytes: KB, concurrency: 32, purges: 0.01 }
/** Entries that are there before: with so many, four of a hundred reads miss. */
const WARM = 60_000

const ARMS: Omit<Description, 'redisUrl'>[] = [
  { name: 'mizan, copies', peer: 'mizan', tier: 'both' },
  { name: 'mizan, no copies', peer: 'mizan', tier: 'redis' },
  { name: 'node-redis', peer: 'node-redis', tier: 'redis' },
  { name: 'node-redis, client-side cache', peer: 'node-redis', tier: 'both' },
  { name: 'ioredis', peer: 'ioredis', tier: 'redis' },
  { name: 'valkey-glide', peer: 'glide', tier: 'redis' },
  { name: 'cacheable, two tiers', peer: 'cacheable', tier: 'both' },
  { name: 'bentocache, two tiers and bus', peer: 'bentocache', tier: 'both' },
  { name: 'lru-cache in each process', peer: 'lru-cache', tier: 'memory' },
  { name: 'mizan, copies again', peer: 'mizan', tier: 'both' },
]

const METRICS: Metric[] = [
  ...SPEED,
  { name: 'hits, %', unit: '%', better: 'neither' },
  { name: 'stale reads', unit: '', better: 'less' },
  { name: 'staleness, p99, ms', unit: 'ms', better: 'less', plot: true },
  { name: 'worst, ms', unit: 'ms', better: 'less' },
]

export const mix: Case = {
  text: `Two processes, ${MIX.concurrency} operations at a time in each, over ${MIX.entries.toLocaleString('en')} entries of 1 KB that are chosen by a Zipf distribution; ${WARM.toLocaleString('en')} of them are stored before, and read once by each process. ${100 * MIX.purges} % of the operations change the source and then purge; the others read, and on a miss, at first 4 %, load from the source and store. Every value carries its version: a read is *stale* if it began after a purge had completed and yet was given an older version; its staleness is the time since that purge. Copies in a process are right within a round trip; without them, and with leases, nothing is ever stale. An lru-cache in each process, given its keys and shared with nobody, is no rival: it shows what the work itself costs.`,
  rounds: 5,
  run: (rounds) =>
    withRedis((source) =>
      withRedis(async (server) => {
        const observer = await server.observe()
        const sourceObserver = await source.observe()
        let seed = 0
        const contestants = ARMS.map((arm) => ({
          name: arm.name,
          // The processes are of this turn alone: what one keeps in memory would be old in the next.
          turn: async () => {
            await observer.flushAll()
            await sourceObserver.flushAll()
            const described = { ...arm, redisUrl: server.url }
            return await withArms([described, described], async (processes) => {
              seed += processes.length
              const storing = arm.tier === 'memory' ? processes : processes.slice(0, 1)
              await Promise.all(storing.map((process) => process.run('store', 0, WARM, MIX.bytes)))
              await Promise.all(processes.map((process) => process.run('read', 0, WARM)))
              return await mixed(processes, { ...MIX, redisUrl: source.url, seed })
            })
          },
        }))
        return [await interleave('two processes', METRICS, contestants, rounds)]
      }),
    ),
}

async function mixed(processes: ArmProcess[], mix: Mix): Promise<number[]> {
  const done = await Promise.all(processes.map((arm, index) => arm.run('mix', { ...mix, seed: mix.seed + index })))
  const operations = done.reduce((sum, { measured }) => sum + measured.operations, 0)
  const perOperation = (time: 'main' | 'all') =>
    done.reduce((sum, { measured }) => sum + measured[time] * measured.operations, 0) / operations
  const reads = done.reduce((sum, each) => sum + each.reads.ids.length, 0)
  const loads = done.reduce((sum, each) => sum + each.loads, 0)
  const stale = staleness(
    done.map((each) => each.reads),
    done.map((each) => each.changes),
  )
  return [
    done.reduce((sum, { measured }) => sum + (measured.operations * 1_000) / measured.milliseconds, 0),
    perOperation('main'),
    perOperation('all'),
    100 * (1 - loads / reads),
    stale.length,
    stale.length === 0 ? 0 : quantile(stale, 0.99),
    stale.length === 0 ? 0 : quantile(stale, 1),
  ]
}

/** For every stale read, how long before it the first purge had completed that it should have seen. */
function staleness(reads: Log[], changes: Log[]): number[] {
  const purges = new Map<number, { version: number; time: number }[]>()
  for (const [id, version, time] of entries(changes)) {
    const known = purges.get(id)
    if (known === undefined) purges.set(id, [{ version, time }])
    else known.push({ version, time })
  }
  const stale: number[] = []
  for (const [id, version, time] of entries(reads)) {
    const missed = (purges.get(id) ?? []).filter((purge) => purge.time < time && purge.version > version)
    if (missed.length > 0) stale.push(time - Math.min(...missed.map((purge) => purge.time)))
  }
  return stale
}

function* entries(logs: Log[]): Generator<[id: number, version: number, time: number]> {
  for (const { ids, versions, times } of logs) {
    for (let index = 0; index < ids.length; index++) {
      yield [ids[index] as number, versions[index] as number, times[index] as number]
    }
  }
}
