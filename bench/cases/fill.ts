import { type ArmProcess, withArms } from '../arm.ts'
import { type Contestant, interleave } from '../rounds.ts'
import type { Measured } from '../tasks.ts'
import { type Case, databaseOf, KB, SPEED, speed, withRedis } from './case.ts'
import { REDIS_PEERS } from './redis.ts'

const CONCURRENCY = 64
const ENTRIES = 3_000

export const fill: Case = {
  text: `Misses on Redis, each followed by its store: ${ENTRIES} entries of 1 KB, ${CONCURRENCY} at a time. mizan takes a lease with the miss and stores with it; node-redis, ioredis, iovalkey, valkey-glide and keyv do GET and SET; cacheable, cache-manager and bentocache their own get-or-set. Only mizan does not store what a purge has overtaken.`,
  rounds: 7,
  run: (rounds) =>
    withRedis(async (server) => {
      const described = REDIS_PEERS.map((arm, index) => ({ ...arm, redisUrl: databaseOf(server, index) }))
      return await withArms(described, async (arms) => {
        return [await interleave('1 KB', SPEED, fillers(arms, 0, speed), rounds)]
      })
    }),
}

/** Each fills entries from this one on, other ones in each turn. */
export function fillers(arms: ArmProcess[], first: number, valuesOf: (measured: Measured) => number[]): Contestant[] {
  return arms.map((arm) => {
    let next = first
    return {
      name: arm.name,
      turn: async () => {
        const from = next
        next += ENTRIES
        return valuesOf(await arm.run('fill', from, next, CONCURRENCY, KB))
      },
    }
  })
}
