import { type Description, withArms } from '../arm.ts'
import { interleave } from '../rounds.ts'
import { type Case, databaseOf, KB, SPEED, speed, storeSame, withRedis } from './case.ts'

const ENTRIES = 1_000
const TURN_MILLISECONDS = 150

type Arm = Omit<Description, 'redisUrl'>
const AT_ONCE: Arm[] = [
  { name: 'mizan, memory, peek', peer: 'mizan', tier: 'memory' },
  { name: 'mizan, copy of Redis, peek', peer: 'mizan', tier: 'both' },
  { name: "lru-cache, the port's key", peer: 'lru-cache', tier: 'memory', derive: true },
  { name: 'lru-cache, key given', peer: 'lru-cache', tier: 'memory' },
  { name: 'mizan, memory, peek again', peer: 'mizan', tier: 'memory' },
]
const AWAITED: Arm[] = [
  { name: 'mizan, memory, get', peer: 'mizan', tier: 'memory' },
  { name: 'mizan, copy of Redis, get', peer: 'mizan', tier: 'both' },
  { name: 'node-redis, client-side cache', peer: 'node-redis', tier: 'both', derive: true },
  { name: 'cacheable', peer: 'cacheable', tier: 'memory', derive: true },
  { name: 'keyv', peer: 'keyv', tier: 'memory', derive: true },
  { name: 'cache-manager', peer: 'cache-manager', tier: 'memory', derive: true },
  { name: 'bentocache', peer: 'bentocache', tier: 'memory', derive: true },
  { name: 'keyv, key given', peer: 'keyv', tier: 'memory' },
  { name: 'mizan, memory, get again', peer: 'mizan', tier: 'memory' },
]

export const local: Case = {
  text: `Reads of ${ENTRIES} entries that are in the process's own memory, one after another. All derive the key in the time measured, the peers by the TypeScript port; a peer whose key is *given* does not. The peers in memory hand out the very string that was stored; mizan, which keeps bytes outside of JavaScript's heap, makes one.`,
  rounds: 7,
  run: (rounds) =>
    withRedis(async (server) => {
      const comparisons = []
      for (const [title, bytes] of [
        ['100 B', 100],
        ['1 KB', KB],
        ['50 KB', 50 * KB],
      ] as const) {
        for (const [arms, how] of [
          [AT_ONCE, 'at once'],
          [AWAITED, 'awaited'],
        ] as const) {
          const described = arms.map((arm, index) => ({ ...arm, redisUrl: databaseOf(server, index) }))
          const compared = await withArms(described, async (processes) => {
            await storeSame(processes, ENTRIES, bytes)
            // Redis takes copies away by the name of the key, whichever arm's database it is stored in.
            for (const process of processes) await process.run('digest', 0, ENTRIES)
            const contestants = processes.map((arm) => ({
              name: arm.name,
              turn: async () =>
                speed(
                  how === 'at once'
                    ? await arm.run('peek', ENTRIES, TURN_MILLISECONDS)
                    : await arm.run('hit', ENTRIES, 1, TURN_MILLISECONDS),
                ),
            }))
            return await interleave(`${title}, ${how}`, SPEED, contestants, rounds)
          })
          comparisons.push(compared)
        }
      }
      return comparisons
    }),
}
