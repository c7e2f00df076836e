/**
 * `npm run bench:http`: cached context GETs over HTTP at 64 connections. Every arm is a server in a process of its own:
 *
 * (a) node:http that answers the same bytes from a constant,
 * (b) the same dispatch written by hand on the TypeScript port of the key and ioredis,
 * (c) the origin on memory, (d) the origin on Redis.
 *
 * The bodies are compared first. Every round asks every arm, in an order that rotates, so that what the machine does
 * meanwhile meets all of them; a ratio is of two arms of one round. (a) runs twice: the ratio of its two arms is what
 * the noise alone makes. Where the client is slower than a server, the server's own processor time still tells.
 *
 * `npm run bench:http -- 5 1` makes 5 rounds of 1 second an arm instead of 7 of 3.
 */

import { strict as assert } from 'node:assert'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import autocannon from 'autocannon'
import { RedisServer } from '../__test__/support/redis-server.ts'
import { describeHost, median, withSpread } from './statistics.ts'

const [rounds = 7, seconds = 3] = process.argv.slice(2).map(Number)
const CONNECTIONS = 64
const SIZES = { '1 KB': 1024, '50 KB': 50 * 1024 }
const SERVER = fileURLToPath(new URL('http-server.ts', import.meta.url))
const PATH = '/api/mizan/ctx/document/?document_id=1'

/** What one arm did in one round. */
interface Measurement {
  requestsPerSecond: number
  /** Of the server's process, for each request. Redis is another process. */
  microseconds: number
}

class Arm {
  readonly name: string
  readonly measurements: Measurement[] = []
  readonly #process: ChildProcess
  readonly #ended: Promise<unknown>
  #address = ''

  constructor(name: string, kind: string, bytes: number, redisUrl: string) {
    this.name = name
    this.#process = spawn(process.execPath, ['--import', 'tsx', SERVER, kind, String(bytes), redisUrl], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#ended = once(this.#process, 'exit')
  }

  async listens(): Promise<void> {
    const { port } = await this.#told<{ port: number }>()
    this.#address = `http://127.0.0.1:${port}${PATH}`
  }

  /** The body, when it comes from the cache. */
  async cachedBody(): Promise<string> {
    for (let attempt = 0; attempt < 100; attempt++) {
      const response = await fetch(this.#address)
      assert.equal(response.headers.get('cache-control'), 'no-store')
      const body = await response.text()
      if (response.headers.get('cache-status') === 'mizan; hit') return body
    }
    throw new Error(`${this.name} does not answer from a cache`)
  }

  async measure(): Promise<Measurement> {
    const before = await this.#processorTime()
    const result = await autocannon({ url: this.#address, connections: CONNECTIONS, duration: seconds })
    const spent = (await this.#processorTime()) - before
    assert.deepEqual([result.errors, result.non2xx], [0, 0], `${this.name} must answer every request`)
    return { requestsPerSecond: result['2xx'] / result.duration, microseconds: spent / result['2xx'] }
  }

  async stop(): Promise<void> {
    this.#process.kill()
    await this.#ended
  }

  async #processorTime(): Promise<number> {
    this.#process.send('processor time')
    return (await this.#told<{ microseconds: number }>()).microseconds
  }

  async #told<T>(): Promise<T> {
    return await new Promise((resolve, reject) => {
      this.#process.once('message', (message) => resolve(message as T))
      void this.#ended.then(() => reject(new Error(`the server of ${this.name} ended`)))
    })
  }
}

async function compare(size: string, bytes: number, redisUrl: string): Promise<void> {
  const arms = [
    new Arm('(a) constant', 'constant', bytes, redisUrl),
    new Arm('(a) again', 'constant', bytes, redisUrl),
    new Arm('(b) port and ioredis', 'port', bytes, redisUrl),
    new Arm('(c) origin, memory', 'memory', bytes, redisUrl),
    new Arm('(d) origin, Redis', 'redis', bytes, redisUrl),
  ]
  try {
    await Promise.all(arms.map((arm) => arm.listens()))
    const bodies = new Set(await Promise.all(arms.map((arm) => arm.cachedBody())))
    assert.equal(bodies.size, 1, 'the arms must agree')
    assert.equal([...bodies][0]?.length, bytes)

    // The first round warms up and is not counted.
    for (let round = -1; round < rounds; round++) {
      for (let turn = 0; turn < arms.length; turn++) {
        const arm = arms[(round + 1 + turn) % arms.length] as Arm
        const measurement = await arm.measure()
        if (round >= 0) arm.measurements.push(measurement)
      }
    }
  } finally {
    await Promise.all(arms.map((arm) => arm.stop()))
  }

  const [constant, , port] = arms as [Arm, Arm, Arm]
  console.log(`\nBodies of ${size}, ${CONNECTIONS} connections: medians of ${rounds} rounds, least to greatest`)
  console.table(
    arms.map((arm) => ({
      arm: arm.name,
      'requests/s': Math.round(median(arm.measurements.map((each) => each.requestsPerSecond))),
      'times (a)': withSpread(speedRatios(arm, constant)),
      'times (b)': withSpread(speedRatios(arm, port)),
      'processor µs': median(arm.measurements.map((each) => each.microseconds)).toFixed(1),
      'µs of (a) / µs': withSpread(processorRatios(constant, arm)),
      'µs of (b) / µs': withSpread(processorRatios(port, arm)),
    })),
  )
}

function speedRatios(arm: Arm, base: Arm): number[] {
  return arm.measurements.map((each, round) => each.requestsPerSecond / at(base, round).requestsPerSecond)
}

function processorRatios(base: Arm, arm: Arm): number[] {
  return arm.measurements.map((each, round) => at(base, round).microseconds / each.microseconds)
}

function at(arm: Arm, round: number): Measurement {
  return arm.measurements[round] as Measurement
}

for (const [size, bytes] of Object.entries(SIZES)) {
  // A Redis of its own, since the entry of both sizes has the same key.
  const redis = await RedisServer.start()
  try {
    await compare(size, bytes, redis.url)
  } finally {
    await redis.stop()
  }
}
console.log(describeHost())
