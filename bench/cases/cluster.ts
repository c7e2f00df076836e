import { RedisCluster } from '../../__test__/support/redis-cluster.ts'
import { type Description, withArms } from '../arm.ts'
import { interleave } from '../rounds.ts'
import { type Case, KB, SPEED, speed, storeSame, withRedis } from './case.ts'

const ENTRIES = 1_000
const CONCURRENCIES = [1, 32, 256]
const TURN_MILLISECONDS = 200

export const cluster: Case = {
  text: 'Reads of 1 KB from a cluster of three primaries, each with a replica that has nothing to do, so many at a time; no copies in the process (`local: false`). mizan derives the key in the time measured, the peers are given theirs ready-made. *mizan, one server* reads the same from one server that is no cluster.',
  rounds: 5,
  run: (rounds) =>
    withRedis(async (server) => {
      const nodes = await RedisCluster.start()
      try {
        const common = { tier: 'redis', redisUrl: server.url } as const
        const described: Description[] = [
          { name: 'mizan', peer: 'mizan', ...common, cluster: nodes.urls },
          { name: 'node-redis', peer: 'node-redis-cluster', ...common, cluster: nodes.urls, context: 'node-redis' },
          { name: 'ioredis', peer: 'ioredis-cluster', ...common, cluster: nodes.urls, context: 'ioredis' },
          { name: 'mizan, one server', peer: 'mizan', ...common },
          { name: 'mizan again', peer: 'mizan', ...common, cluster: nodes.urls, context: 'again' },
        ]
        return await withArms(described, async (arms) => {
          await storeSame(arms, ENTRIES, KB)
          const comparisons = []
          for (const concurrency of CONCURRENCIES) {
            const contestants = arms.map((arm) => ({
              name: arm.name,
              turn: async () => speed(await arm.run('hit', ENTRIES, concurrency, TURN_MILLISECONDS)),
            }))
            comparisons.push(await interleave(`${concurrency} at a time`, SPEED, contestants, rounds))
          }
          return comparisons
        })
      } finally {
        await nodes.stop()
      }
    }),
}
