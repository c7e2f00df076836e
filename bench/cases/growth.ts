import type * as addon from '@mizan/cache'
import { RedisCluster } from '../../__test__/support/redis-cluster.ts'
import { type Description, withArms } from '../arm.ts'
import { Cache } from '../built.ts'
import { SECRET } from '../entries.ts'
import { processorTimeOf } from '../processor.ts'
import type { Comparison, Metric } from '../results.ts'
import { type Contestant, interleave } from '../rounds.ts'
import { type Case, KB, SPEED, speed, withRedis } from './case.ts'

const TURN_MILLISECONDS = 60
const METRICS: Metric[] = [{ name: 'processor, µs each', unit: 'µs', better: 'neither', plot: true }]

export const growth: Case = {
  text: 'What a hit costs as things grow. In memory, by processor time of one process: so many entries, parameters, and bytes of the value. On Redis: one server, and a cluster of three primaries, whose reads are a command for each key.',
  rounds: 5,
  async run(rounds) {
    const inMemory: [title: string, arms: Contestant[]][] = [
      ['entries in memory, 1 KB, 2 parameters', await Promise.all([10, 1_000, 100_000, 400_000].map(entries))],
      ['parameters, 1 KB', await Promise.all([0, 2, 10, 50].map(parameters))],
      ['bytes of the value, 2 parameters', await Promise.all([100, KB, 16 * KB, 50 * KB, 1_000 * KB].map(bytes))],
    ]
    const comparisons: Comparison[] = []
    for (const [title, arms] of inMemory) comparisons.push(await interleave(title, METRICS, arms, rounds))
    return [...comparisons, ...(await nodes(rounds))]
  },
}

/** Peeks at all calls in turn, which are stored before. */
async function hits(name: string, calls: addon.Params[], value: string): Promise<Contestant> {
  const cache = new Cache({ secret: SECRET, maxBytes: 1024 ** 3 })
  for (const params of calls) await cache.put('document', params, value)
  const peekAll = (count: number) => {
    const microseconds = processorTimeOf(() => {
      for (let index = 0; index < count; index++) {
        if (cache.peek('document', calls[index % calls.length]) === null) throw new Error('it is not there')
      }
    })
    return microseconds / count
  }
  const count = Math.max(calls.length, Math.round((TURN_MILLISECONDS * 1_000) / peekAll(500)))
  return { name, turn: async () => [peekAll(count)] }
}

const call = (id: number): addon.Params => ({ document_id: id, page: 3 })
const calls = (count: number, make: (id: number) => addon.Params) => Array.from({ length: count }, (_, id) => make(id))

const entries = (count: number) => hits(count.toLocaleString('en'), calls(count, call), 'x'.repeat(KB))

const parameters = (count: number) =>
  hits(
    `${count}`,
    calls(100, (id) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`name_${index}`, id]))),
    'x'.repeat(KB),
  )

const bytes = (size: number) => hits(size.toLocaleString('en'), calls(20, call), 'x'.repeat(size))

async function nodes(rounds: number): Promise<Comparison[]> {
  const cluster = await RedisCluster.start()
  try {
    return await withRedis(async ({ url }) => {
      const described: Description[] = [
        { name: 'mizan, one server', peer: 'mizan', tier: 'redis', redisUrl: url },
        { name: 'three primaries', peer: 'mizan', tier: 'redis', redisUrl: '', cluster: cluster.urls },
        { name: 'mizan again, one server', peer: 'mizan', tier: 'redis', redisUrl: url },
      ]
      return await withArms(described, async (arms) => {
        const comparisons: Comparison[] = []
        for (const arm of arms) await arm.run('store', 0, 1_000, KB)
        for (const concurrency of [1, 32, 256]) {
          const contestants = arms.map((arm) => ({
            name: arm.name,
            turn: async () => speed(await arm.run('hit', 1_000, concurrency, 200)),
          }))
          comparisons.push(await interleave(`nodes, 1 KB, ${concurrency} at a time`, SPEED, contestants, rounds))
        }
        return comparisons
      })
    })
  } finally {
    await cluster.stop()
  }
}
