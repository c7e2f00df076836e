import { createHash } from 'node:crypto'
import type { Observer } from '../../__test__/support/redis-server.ts'
import { type Description, withArms } from '../arm.ts'
import type { Metric } from '../results.ts'
import { interleave } from '../rounds.ts'
import { type Case, KB, withRedis } from './case.ts'

const KEYS = 1_000_000
const PURGED = 10_000
const AT_ONCE = 20
const READ = 1_000
const READERS = 4

const METRICS: Metric[] = [
  { name: 'seconds', unit: 's', better: 'less', plot: true },
  { name: 'reads before: median, ms', unit: 'ms', better: 'neither' },
  { name: 'reads meanwhile: median, ms', unit: 'ms', better: 'less' },
  { name: 'p99, ms', unit: 'ms', better: 'less', plot: true },
  { name: 'worst, ms', unit: 'ms', better: 'less' },
  { name: 'event loop, worst delay, ms', unit: 'ms', better: 'less' },
]

const ARMS: (Omit<Description, 'redisUrl'> & { isScan?: true })[] = [
  { name: 'mizan', peer: 'mizan', tier: 'redis' },
  { name: 'SCAN alone', peer: 'node-redis', tier: 'redis', isScan: true },
  { name: 'SCAN and UNLINK by hand, node-redis', peer: 'node-redis', tier: 'redis' },
  { name: 'mizan again', peer: 'mizan', tier: 'redis' },
]

export const broadPurge: Case = {
  text: `Purges of ${PURGED.toLocaleString('en')} entries among ${KEYS.toLocaleString('en')} keys, against a bare SCAN over the same keys (COUNT 1,000, without a purge) and one written by hand; meanwhile the same process makes ${READERS} reads at a time of other entries. Then the same number of entries in ${AT_ONCE} contexts that are purged at once.`,
  rounds: 3,
  run: (rounds) =>
    withRedis(
      async (server) => {
        const observer = await server.observe()
        await observer.sendCommand(['DEBUG', 'POPULATE', String(KEYS - PURGED), 'filler', '100'])
        const described = ARMS.map((arm) => ({ ...arm, redisUrl: server.url, context: 'bystander' }))
        return await withArms(described, async (arms) => {
          await Promise.all(arms.map((arm) => arm.run('store', 0, READ, KB)))
          const compare = (title: string, contexts: string[]) => {
            const contestants = arms.map((arm, index) => ({
              name: arm.name,
              turn: async () => {
                await fill(observer, contexts)
                const purged = ARMS[index]?.isScan ? [] : contexts
                const { before, during } = await arm.run('broadPurge', purged, READ, READERS)
                return [
                  during.milliseconds / 1_000,
                  before.median,
                  during.median,
                  during.p99,
                  during.worst,
                  during.loopDelay,
                ]
              },
            }))
            return interleave(title, METRICS, contestants, rounds)
          }
          return [
            await compare('one context', ['document']),
            await compare(
              `${AT_ONCE} contexts at once`,
              Array.from({ length: AT_ONCE }, (_, index) => `document_${index}`),
            ),
          ]
        })
      },
      { config: ['enable-debug-command local'] },
    ),
}

/** Puts what is to be purged: keys of the contexts, whatever they are signed with. */
async function fill(observer: Observer, contexts: string[]): Promise<void> {
  const digest = (number: number) => createHash('sha256').update(String(number)).digest('hex')
  for (const context of contexts) {
    const pairs = Array.from({ length: PURGED / contexts.length }, (_, number) => [
      `ctx:${context}:${digest(number)}`,
      'a value',
    ])
    await observer.mSet(pairs as [string, string][])
  }
}
