import { Worker } from 'node:worker_threads'
import { withArms } from '../arm.ts'
import type { Metric } from '../results.ts'
import { type Contestant, interleave } from '../rounds.ts'
import type { Measured } from '../tasks.ts'
import { type Case, databaseOf, KB, storeSame, withRedis } from './case.ts'
import { fillers } from './fill.ts'
import { CLIENTS } from './redis.ts'

const ENTRIES = 1_000
const TURN_MILLISECONDS = 200
const METRICS: Metric[] = [
  { name: 'by the clock, µs each', unit: 'µs', better: 'less', plot: true },
  { name: "JavaScript's thread", unit: 'µs', better: 'neither' },
  { name: 'other threads', unit: 'µs', better: 'neither' },
  { name: 'Redis', unit: 'µs', better: 'neither' },
  { name: 'the rest', unit: 'µs', better: 'neither' },
]

export const roundTrip: Case = {
  text: "Where the time of operations on Redis goes, 1 KB: by the clock, and of that the processor time of JavaScript's thread, of the process's other threads, and of Redis, all in µs for each operation. The rest is waiting, mostly for a thread to wake up; where several work at once it is less than that. *Another thread and back* is what it takes to wake another thread and to be woken by it, for as many operations as go together: a client in JavaScript wakes Redis and is woken by it, and with a thread of its own between them each of the two is done twice.",
  rounds: 9,
  run: (rounds) =>
    withRedis((server) => {
      const described = CLIENTS.map((arm, index) => ({
        ...arm,
        redisUrl: databaseOf(server, index),
        redisProcess: server.processId,
      }))
      return withArms(described, async (arms) => {
        await storeSame(arms, ENTRIES, KB)
        const echo = new Echo()
        const comparisons = []
        for (const concurrency of [1, 32]) {
          const readers = arms.map((arm) => ({
            name: arm.name,
            turn: async () => timesOf(await arm.run('hit', ENTRIES, concurrency, TURN_MILLISECONDS)),
          }))
          const threads: Contestant = {
            name: 'another thread and back',
            turn: async () => [echo.microseconds(TURN_MILLISECONDS) / concurrency],
            isRival: false,
          }
          comparisons.push(await interleave(`hits, ${concurrency} at a time`, METRICS, [...readers, threads], rounds))
        }
        await echo.stop()
        comparisons.push(
          await interleave('misses and fills, 64 at a time', METRICS, fillers(arms, ENTRIES, timesOf), rounds),
        )
        return comparisons
      })
    }),
}

function timesOf({ operations, milliseconds, main, all, redis }: Measured): number[] {
  const clock = (milliseconds * 1_000) / operations
  return [clock, main, all - main, redis, clock - all - redis]
}

/** A thread that answers. */
class Echo {
  readonly #turn = new Int32Array(new SharedArrayBuffer(4))
  readonly #worker = new Worker(
    `const { workerData: turn } = require('node:worker_threads')
    for (;;) {
      Atomics.wait(turn, 0, 0)
      Atomics.store(turn, 0, 0)
      Atomics.notify(turn, 0)
    }`,
    { eval: true, workerData: this.#turn },
  )

  /** What it takes to be answered, the mean of as many times as the milliseconds allow. */
  microseconds(milliseconds: number): number {
    const start = performance.now()
    let times = 0
    for (; performance.now() < start + milliseconds; times++) {
      Atomics.store(this.#turn, 0, 1)
      Atomics.notify(this.#turn, 0)
      Atomics.wait(this.#turn, 0, 1)
    }
    return ((performance.now() - start) * 1_000) / times
  }

  stop(): Promise<number> {
    return this.#worker.terminate()
  }
}
