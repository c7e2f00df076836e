import { withArms } from '../arm.ts'
import { interleave } from '../rounds.ts'
import { type Case, databaseOf, SPEED, speed, withRedis } from './case.ts'
import { REDIS_PEERS } from './redis.ts'

const CONCURRENCY = 64
const ENTRIES = 3_000

export const purge: Case = {
  text: `Purges of single entries on Redis: ${ENTRIES}, ${CONCURRENCY} at a time. mizan revokes the entry's lease too, and keeps the purge if Redis cannot be had; the others send UNLINK or DEL.`,
  rounds: 7,
  run: (rounds) =>
    withRedis(async (server) => {
      const described = REDIS_PEERS.map((arm, index) => ({ ...arm, redisUrl: databaseOf(server, index) }))
      return await withArms(described, async (arms) => {
        const contestants = arms.map((arm) => ({
          name: arm.name,
          turn: async () => {
            await arm.run('store', 0, ENTRIES, 100)
            return speed(await arm.run('purge', 0, ENTRIES, CONCURRENCY))
          },
        }))
        return [await interleave('one entry each', SPEED, contestants, rounds)]
      })
    }),
}
