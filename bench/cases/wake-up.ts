import { Worker } from 'node:worker_threads'
import { withArms } from '../arm.ts'
import type { Metric } from '../results.ts'
import { type Contestant, interleave } from '../rounds.ts'
import { type Case, databaseOf, KB, storeSame, withRedis } from './case.ts'
import { CLIENTS } from './redis.ts'

const ENTRIES = 1_000
const TURN_MILLISECONDS = 200
const METRICS: Metric[] = [{ name: 'by the clock, µs each', unit: 'µs', better: 'less', plot: true }]

export const wakeUp: Case = {
  text: 'Reads of 1 KB from Redis one at a time, beside what it takes to wake another thread and to be woken by it: a client in JavaScript wakes Redis and is woken by it, and with a thread of its own between them each of the two is done twice.',
  rounds: 9,
  run: (rounds) =>
    withRedis((server) =>
      withArms(
        CLIENTS.map((arm, index) => ({ ...arm, redisUrl: databaseOf(server, index) })),
        async (arms) => {
          await storeSame(arms, ENTRIES, KB)
          const readers = arms.map(
            (arm): Contestant => ({
              name: arm.name,
              turn: async () => {
                const { operations, milliseconds } = await arm.run('hit', ENTRIES, 1, TURN_MILLISECONDS)
                return [(milliseconds * 1_000) / operations]
              },
            }),
          )
          const echo = new Echo()
          const threads: Contestant = {
            name: 'another thread and back',
            turn: async () => [echo.microseconds(TURN_MILLISECONDS)],
            isRival: false,
          }
          const comparison = await interleave('1 KB, 1 at a time', METRICS, [...readers, threads], rounds)
          await echo.stop()
          return [comparison]
        },
      ),
    ),
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
