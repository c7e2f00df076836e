import type { RedisServer } from '../../__test__/support/redis-server.ts'
import { type Description, withArms } from '../arm.ts'
import type { Comparison } from '../results.ts'
import { interleave } from '../rounds.ts'
import { type Case, databaseOf, KB, SPEED, speed, storeSame, withRedis } from './case.ts'

const TURN_MILLISECONDS = 200

interface Size {
  size: string
  bytes: number
  entries: number
  concurrencies: number[]
}

const SIZES: Size[] = [
  { size: '100 B', bytes: 100, entries: 1_000, concurrencies: [1, 8, 64, 512] },
  { size: '1 KB', bytes: KB, entries: 1_000, concurrencies: [1, 8, 32, 64, 256, 512] },
  { size: '16 KB', bytes: 16 * KB, entries: 200, concurrencies: [256] },
  { size: '50 KB', bytes: 50 * KB, entries: 200, concurrencies: [1, 8, 64, 512] },
]

const DERIVING_SIZES: Size[] = [
  { size: '1 KB', bytes: KB, entries: 1_000, concurrencies: [1, 32, 256] },
  { size: '16 KB', bytes: 16 * KB, entries: 200, concurrencies: [256] },
]

/** Each in the configuration in which it is fastest: see `bench/peers`. */
export const REDIS_PEERS: Omit<Description, 'redisUrl'>[] = [
  { name: 'mizan', peer: 'mizan', tier: 'redis' },
  { name: 'node-redis', peer: 'node-redis', tier: 'redis' },
  { name: 'ioredis', peer: 'ioredis', tier: 'redis' },
  { name: 'iovalkey', peer: 'iovalkey', tier: 'redis' },
  { name: 'valkey-glide', peer: 'glide', tier: 'redis' },
  { name: 'keyv', peer: 'keyv', tier: 'redis' },
  { name: 'cacheable', peer: 'cacheable', tier: 'redis' },
  { name: 'cache-manager', peer: 'cache-manager', tier: 'redis' },
  { name: 'bentocache', peer: 'bentocache', tier: 'redis' },
  { name: 'mizan again', peer: 'mizan', tier: 'redis' },
]

/** The fastest of those that are written in JavaScript. */
export const CLIENTS = REDIS_PEERS.filter(({ peer }) => ['mizan', 'node-redis', 'ioredis'].includes(peer))

const DERIVING = CLIENTS.map((arm) => ({ ...arm, derive: true }))

export const redis: Case = {
  text: 'Reads of entries that are on Redis, over loopback, so many at a time; no copies in the process (`local: false`). mizan derives the key in the time measured; the peers are given theirs ready-made, but where it is said that they derive it too, by the TypeScript port.',
  rounds: 5,
  run: (rounds) =>
    withRedis(async (server) => [
      ...(await compare(server, REDIS_PEERS, SIZES, '', rounds)),
      ...(await compare(server, DERIVING, DERIVING_SIZES, ', all derive the key', rounds)),
    ]),
}

async function compare(
  server: RedisServer,
  peers: Omit<Description, 'redisUrl'>[],
  sizes: Size[],
  how: string,
  rounds: number,
): Promise<Comparison[]> {
  const described = peers.map((arm, index) => ({ ...arm, redisUrl: databaseOf(server, index) }))
  return await withArms(described, async (arms) => {
    const comparisons = []
    for (const { size, bytes, entries, concurrencies } of sizes) {
      await storeSame(arms, entries, bytes)
      for (const concurrency of concurrencies) {
        const contestants = arms.map((arm) => ({
          name: arm.name,
          turn: async () => speed(await arm.run('hit', entries, concurrency, TURN_MILLISECONDS)),
        }))
        comparisons.push(await interleave(`${size}, ${concurrency} at a time${how}`, SPEED, contestants, rounds))
      }
    }
    return comparisons
  })
}
