import { type Description, withArms } from '../arm.ts'
import type { Metric } from '../results.ts'
import { interleave } from '../rounds.ts'
import type { Case } from './case.ts'

const ENTRIES = 300_000
const DISTINCT = 10_000_000
const BOUND = 64 * 1024 * 1024

type Arm = Omit<Description, 'redisUrl'>
const ARMS: Arm[] = [
  { name: 'mizan', peer: 'mizan', tier: 'memory' },
  { name: 'lru-cache', peer: 'lru-cache', tier: 'memory', derive: true },
  { name: 'keyv', peer: 'keyv', tier: 'memory', derive: true },
  { name: 'cacheable', peer: 'cacheable', tier: 'memory', derive: true },
  { name: 'mizan again', peer: 'mizan', tier: 'memory' },
]

const PER_ENTRY: Metric[] = [
  { name: 'bytes for each entry, over key and value', unit: 'B', better: 'less', plot: true },
]
const GROWTH: Metric[] = [{ name: 'resident memory, MiB', unit: 'MiB', better: 'less', plot: true }]

export const memory: Case = {
  text: `Resident memory of a process, after a garbage collection: for each of ${ENTRIES.toLocaleString('en')} entries of 100 B in memory, over the bytes of its key and its value; and how much it grows by ${DISTINCT.toLocaleString('en')} different entries of 100 B, stored one after another, where the bound (\`maxBytes\`) is ${BOUND / 1024 / 1024} MiB.`,
  rounds: 3,
  async run(rounds) {
    // Of every turn a process of its own, since none gives all of its memory back.
    const alone = (arm: Arm, work: (process: Parameters<Parameters<typeof withArms>[1]>[0][0]) => Promise<number>) => ({
      name: arm.name,
      turn: () =>
        withArms([{ ...arm, redisUrl: '' }], async ([process]) => [await work(process as NonNullable<typeof process>)]),
    })
    const entries = ARMS.map((arm) => alone(arm, (process) => process.run('memoryOfEntries', ENTRIES, 100)))
    const [mizan] = ARMS as [Arm]
    const distinct = alone({ ...mizan, maxBytes: BOUND }, async (process) => {
      return (await process.run('memoryOfDistinctKeys', DISTINCT, 100)) / 1024 / 1024
    })
    const perEntry = await interleave('100 B', PER_ENTRY, entries, rounds)
    const growth = await distinct.turn()
    const title = `${DISTINCT.toLocaleString('en')} different entries, once`
    const bound = { name: 'the bound', values: [[BOUND / 1024 / 1024]] }
    return [perEntry, { title, metrics: GROWTH, arms: [{ name: 'mizan', values: [growth] }, bound] }]
  },
}
