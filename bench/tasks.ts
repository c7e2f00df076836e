/** What is done with a cache, in the process of its arm. */

import { createHash } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { keyOf, makeValue, versionIn } from './entries.ts'
import type { Peer, PeerOptions } from './peers/peer.ts'
import { mainThreadTimeOf, processorTime } from './processor.ts'
import { openSource } from './source.ts'
import { quantile } from './statistics.ts'
import { randomNumbers, zipf } from './zipf.ts'

/** What some operations took. */
export interface Measured {
  operations: number
  milliseconds: number
  /** Microseconds for each operation. */
  main: number
  all: number
  /** Of Redis, where it is known which process that is. */
  redis: number
}

export interface Mix {
  milliseconds: number
  entries: number
  bytes: number
  concurrency: number
  /** Of all operations. */
  purges: number
  redisUrl: string
  seed: number
}

/** What happened to an entry when, by a clock that all processes share: in milliseconds. */
export interface Log {
  ids: Uint32Array
  versions: Uint32Array
  times: Float64Array
}

export type Tasks = ReturnType<typeof tasksOf>

export function tasksOf(peer: Peer, { context = 'document', redisProcess }: PeerOptions) {
  /** What was not done must not count as done fast. */
  async function expectAll(from: number, to: number, areThere: boolean): Promise<void> {
    await each(from, to, 64, async (id) => {
      const isThere = typeof (await peer.get(id)) === 'string'
      if (isThere !== areThere) throw new Error(`entry ${id} ${areThere ? 'is not' : 'is still'} there`)
    })
  }

  /** What V8 keeps for the work itself is no entry's. */
  async function residentBytesOfWork(bytes: number): Promise<number> {
    await each(0, 200_000, 64, async (id) => {
      makeValue(id, bytes)
      await peer.get(-1 - id)
    })
    return residentBytes()
  }

  const redisTime = () => (redisProcess === undefined ? Number.NaN : mainThreadTimeOf(redisProcess))

  async function measure(work: () => Promise<number>): Promise<Measured> {
    globalThis.gc?.()
    const [before, redisBefore] = [processorTime(), redisTime()]
    const start = performance.now()
    const operations = await work()
    const milliseconds = performance.now() - start
    const [after, redisAfter] = [processorTime(), redisTime()]
    return {
      operations,
      milliseconds,
      main: (after.main - before.main) / operations,
      all: (after.all - before.all) / operations,
      redis: (redisAfter - redisBefore) / operations,
    }
  }

  return {
    async store(from: number, to: number, bytes: number): Promise<void> {
      await each(from, to, 64, (id) => peer.set(id, makeValue(id, bytes)))
    },

    async read(from: number, to: number): Promise<void> {
      await each(from, to, 64, (id) => peer.get(id))
    },

    /** What it reads, as one digest. */
    async digest(from: number, to: number): Promise<string> {
      const hash = createHash('sha256')
      for (let id = from; id < to; id++) hash.update(`${await peer.get(id)}\n`)
      return hash.digest('hex')
    },

    /** Reads entries that are there, so many at once. */
    hit(entries: number, concurrency: number, milliseconds: number): Promise<Measured> {
      return measure(async () => {
        const end = performance.now() + milliseconds
        let operations = 0
        await Promise.all(
          Array.from({ length: concurrency }, async (_, worker) => {
            for (let id = worker % entries; performance.now() < end; id = (id + 1) % entries) {
              if (typeof (await peer.get(id)) !== 'string') throw new Error(`entry ${id} is not there`)
              operations++
            }
          }),
        )
        return operations
      })
    },

    /** Reads entries that are there, without a promise. */
    peek(entries: number, milliseconds: number): Promise<Measured> {
      return measure(async () => {
        const end = performance.now() + milliseconds
        let operations = 0
        while (performance.now() < end) {
          for (let id = 0; id < entries; id++) {
            if (typeof peer.peek?.(id) !== 'string') throw new Error(`entry ${id} is not there`)
          }
          operations += entries
        }
        return operations
      })
    },

    /** Reads entries that are not there, and stores them. */
    async fill(from: number, to: number, concurrency: number, bytes: number): Promise<Measured> {
      for (let id = from; id < to; id++) peer.prepare?.(id)
      const measured = await measure(() =>
        each(from, to, concurrency, (id) => peer.getOrLoad(id, async () => makeValue(id, bytes))),
      )
      await expectAll(from, to, true)
      return measured
    },

    async purge(from: number, to: number, concurrency: number): Promise<Measured> {
      const measured = await measure(() => each(from, to, concurrency, (id) => peer.purge(id)))
      await expectAll(from, to, false)
      return measured
    },

    /** Reads, and purges after a change of the source, by a Zipf distribution. */
    async mix({ milliseconds, entries, bytes, concurrency, purges, redisUrl, seed }: Mix) {
      const source = await openSource(redisUrl)
      const random = randomNumbers(seed)
      const pick = zipf(entries, random)
      const reads: [number, number, number][] = []
      const changes: [number, number, number][] = []
      let loads = 0

      async function read(id: number): Promise<void> {
        const time = now()
        const value = await peer.getOrLoad(id, async () => {
          loads++
          return makeValue(id, bytes, await source.version(id))
        })
        reads.push([id, versionIn(value), time])
      }

      async function change(id: number): Promise<void> {
        const version = await source.change(id)
        await peer.purge(id)
        changes.push([id, version, now()])
      }

      const measured = await measure(async () => {
        const end = performance.now() + milliseconds
        await Promise.all(
          Array.from({ length: concurrency }, async () => {
            while (performance.now() < end) await (random() < purges ? change(pick()) : read(pick()))
          }),
        )
        return reads.length + changes.length
      })
      await source.close()
      return { measured, loads, reads: toLog(reads), changes: toLog(changes) }
    },

    /**
     * Purges contexts at once, or only looks at all keys where there are none, while some reads go on; what these see,
     * in milliseconds, compared with a second before.
     */
    async broadPurge(contexts: string[], entries: number, readers: number) {
      const before = await whileReading(() => new Promise((resolve) => setTimeout(resolve, 1_000)))
      const during = await whileReading(() =>
        contexts.length === 0 ? peer.scan?.() : Promise.all(contexts.map((each) => peer.purgeContext?.(each))),
      )
      return { before, during }

      async function whileReading(work: () => Promise<unknown> | undefined) {
        const loop = monitorEventLoopDelay({ resolution: 1 })
        const latencies: number[] = []
        let isOver = false
        loop.enable()
        const reading = Promise.all(
          Array.from({ length: readers }, async (_, reader) => {
            for (let id = reader; !isOver; id = (id + 1) % entries) {
              const start = performance.now()
              if (typeof (await peer.get(id)) !== 'string') throw new Error(`entry ${id} is not there`)
              latencies.push(performance.now() - start)
            }
          }),
        )
        const start = performance.now()
        await work()
        const milliseconds = performance.now() - start
        isOver = true
        await reading
        loop.disable()
        return {
          milliseconds,
          median: quantile(latencies, 0.5),
          p99: quantile(latencies, 0.99),
          worst: quantile(latencies, 1),
          loopDelay: loop.max / 1e6,
        }
      }
    },

    /** Resident bytes for each of so many entries, over the bytes of its key and its value. */
    async memoryOfEntries(entries: number, bytes: number): Promise<number> {
      const empty = await residentBytesOfWork(bytes)
      await each(0, entries, 64, (id) => peer.set(id, makeValue(id, bytes)))
      return (residentBytes() - empty) / entries - keyOf(context, 0).length - bytes
    },

    /** How much resident memory grows by so many different keys, in bytes. */
    async memoryOfDistinctKeys(keys: number, bytes: number): Promise<number> {
      const empty = await residentBytesOfWork(bytes)
      await each(0, keys, 64, (id) => peer.set(id, makeValue(id, bytes)))
      return residentBytes() - empty
    },
  }
}

/** Does something for each number, so many at once; how many there were. */
async function each(
  from: number,
  to: number,
  concurrency: number,
  act: (id: number) => Promise<unknown>,
): Promise<number> {
  let next = from
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (next < to) await act(next++)
    }),
  )
  return to - from
}

function residentBytes(): number {
  globalThis.gc?.()
  return process.memoryUsage.rss()
}

const sharedClock = Number(process.hrtime.bigint()) / 1e6 - performance.now()

/** Milliseconds by the clock of the machine. */
function now(): number {
  return sharedClock + performance.now()
}

function toLog(entries: [number, number, number][]): Log {
  return {
    ids: Uint32Array.from(entries, ([id]) => id),
    versions: Uint32Array.from(entries, ([, version]) => version),
    times: Float64Array.from(entries, ([, , time]) => time),
  }
}
