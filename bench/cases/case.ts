/** What the cases have in common. */

import { strict as assert } from 'node:assert'
import { createHash } from 'node:crypto'
import { RedisServer, type RedisServerOptions } from '../../__test__/support/redis-server.ts'
import type { ArmProcess } from '../arm.ts'
import { makeValue } from '../entries.ts'
import type { Comparison, Metric } from '../results.ts'
import type { Measured } from '../tasks.ts'

export interface Case {
  /** What is done, for a reader of the tables. */
  text: string
  rounds: number
  run(rounds: number): Promise<Comparison[]>
}

export const KB = 1024

export const SPEED: Metric[] = [
  { name: 'operations/s', unit: '/s', better: 'more', plot: true },
  { name: 'main thread, µs each', unit: 'µs', better: 'less', plot: true },
  { name: 'all threads, µs each', unit: 'µs', better: 'less' },
]

export function speed({ operations, milliseconds, main, all }: Measured): number[] {
  return [(operations * 1_000) / milliseconds, main, all]
}

/** Gives the work a Redis of its own. */
export async function withRedis<T>(
  work: (server: RedisServer) => Promise<T>,
  options: RedisServerOptions = {},
): Promise<T> {
  const server = await RedisServer.start(options)
  try {
    return await work(server)
  } finally {
    await server.stop()
  }
}

/** Stores the entries by every arm, and sees that all of them read the same bytes. */
export async function storeSame(arms: ArmProcess[], entries: number, bytes: number): Promise<void> {
  const hash = createHash('sha256')
  for (let id = 0; id < entries; id++) hash.update(`${makeValue(id, bytes)}\n`)
  const expected = hash.digest('hex')
  for (const arm of arms) {
    await arm.run('store', 0, entries, bytes)
    assert.equal(await arm.run('digest', 0, entries), expected, `${arm.name} must read what was stored`)
  }
}

/** The URL of a database of the server for each of so many arms that store in ways of their own. */
export function databaseOf(server: RedisServer, index: number): string {
  return `${server.url}/${index}`
}
