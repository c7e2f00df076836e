/** Several processes of readers and writers on one Redis, and what they found. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { RedisProxy, type Treatment } from '../support/redis-proxy.ts'
import { type Observer, RedisServer } from '../support/redis-server.ts'
import type { RacerSettings } from './racer.ts'
import { NOTHING, sum, type Tally } from './tally.ts'
import type { Variant } from './variants.ts'

export interface RaceSettings {
  readonly variant: Variant
  /** How many reads that are served by the cache, or by the load of another, to make. */
  readonly reads: number
  /** Ends at the first stale read. */
  readonly untilStale?: boolean
  readonly processes?: number
  /** The first process has a Python at its side. */
  readonly python?: string | null
  /** Bytes of each process's local tier, which there is not by default. */
  readonly localBytes?: number | null
}

/** Of one process after the other: leases that expire during many loads, during some, and during none. */
const LEASE_MS = [15, 60, 10_000]
const SECRET = 'a secret of the races, 32 bytes or more'
const RACER = fileURLToPath(new URL('racer.ts', import.meta.url))
/** Keys of others, so that a broad purge takes several steps of SCAN. */
const FOREIGN_KEYS = 5_000
const PASSING_KEYS = 40_000

export async function race(settings: RaceSettings): Promise<Tally> {
  const server = await RedisServer.start({ config: ['enable-debug-command local'] })
  const truth = await RedisServer.start()
  const proxy = await RedisProxy.start(server)
  Object.assign(proxy, { toServer: sometimesLate, toClient: sometimesLate })
  const racers: Racer[] = []
  try {
    const { variant, processes = 3, python = null, localBytes = null } = settings
    for (let index = 0; index < processes; index++) {
      const cache = {
        secret: SECRET,
        redisUrl: index % 2 === 0 ? server.url : proxy.url,
        leaseMs: LEASE_MS[index % LEASE_MS.length] ?? 0,
        local: localBytes === null ? (false as const) : { maxBytes: localBytes },
        // On a busy machine too nothing is to be postponed: other processes have not seen such a purge.
        commandTimeoutMs: 60_000,
      }
      racers.push(new Racer({ variant, truthUrl: truth.url, cache, python: index === 0 ? python : null }))
    }
    const noise = makeNoise(await server.observe())
    await Promise.race([enough(racers, settings), noise, ...racers.map(({ failed }) => failed)])
    return sum(await Promise.all(racers.map((racer) => racer.stop())))
  } finally {
    for (const racer of racers) racer.kill()
    await proxy.stop()
    await truth.stop()
    await server.stop()
  }
}

async function enough(racers: readonly Racer[], { reads, untilStale = false }: RaceSettings): Promise<void> {
  for (;;) {
    const { served, stale } = sum(racers.map(({ tally }) => tally))
    if (served >= reads || (untilStale && stale > 0)) return
    await sleep(20)
  }
}

/** Holds back what passes: between two steps of a SCAN, between a command and its answer, anywhere. */
const sometimesLate: Treatment = async (bytes, forward) => {
  const kind = Math.random()
  if (kind < 0.01) await sleep(20)
  else if (kind < 0.2) await sleep(3 * Math.random())
  forward(bytes)
}

/** Keys of others come and go, so that Redis's table grows and shrinks under the scans. Ends with the server. */
async function makeNoise(observer: Observer): Promise<never> {
  await observer.sendCommand(['DEBUG', 'POPULATE', `${FOREIGN_KEYS}`, 'foreign', '1'])
  for (;;) {
    await observer.sendCommand(['DEBUG', 'POPULATE', `${PASSING_KEYS}`, 'passing', '1'])
    await sleep(500 * Math.random())
    for (let first = 0; first < PASSING_KEYS; first += 1_000) {
      await observer.unlink(Array.from({ length: 1_000 }, (_, index) => `passing:${first + index}`))
    }
    await sleep(500 * Math.random())
  }
}

class Racer {
  /** The newest that it has reported. */
  tally = NOTHING
  /** Rejects if it ends by itself. */
  readonly failed: Promise<never>
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown[]>

  constructor(settings: RacerSettings) {
    this.#child = fork(RACER, [JSON.stringify(settings)], { execArgv: ['--import', 'tsx'] })
    this.#child.on('message', (tally: Tally) => {
      this.tally = tally
    })
    this.#ended = once(this.#child, 'exit')
    this.failed = this.#ended.then(([code]) => {
      throw new Error(`a racer ended with ${code}`)
    })
    this.failed.catch(() => {})
  }

  async stop(): Promise<Tally> {
    this.#child.send('stop')
    await this.#ended
    return this.tally
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}
