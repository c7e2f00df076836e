import { strict as assert } from 'node:assert'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Comparison, Metric } from '../results.ts'
import { interleave } from '../rounds.ts'
import { ServerProcess } from '../server-process.ts'
import { type Case, databaseOf, KB, withRedis } from './case.ts'

const ENTRIES = 1_000
const CONNECTIONS = [1, 8, 32, 128]
const TURN_SECONDS = 1

const ARMS: Record<string, string> = {
  mizan: 'mizan',
  'node-redis': 'node-redis',
  ioredis: 'ioredis',
  constant: 'constant',
  'mizan again': 'mizan',
}

const METRICS: Metric[] = [
  { name: 'requests/s', unit: '/s', better: 'more', plot: true },
  { name: 'processor of the server, µs each', unit: 'µs', better: 'less', plot: true },
]

export const httpRedis: Case = {
  text: `What users have: a node:http server each of whose requests reads one value of 1 KB from Redis, out of ${ENTRIES} in turns, at so many connections; no copies in the process (\`local: false\`). mizan derives the key of each request, the peers are given theirs ready-made. *constant* answers without Redis, which is as fast as node:http is. The load (wrk) runs beside the servers.`,
  rounds: 5,
  run: (rounds) =>
    withRedis(async (server) => {
      const servers = Object.entries(ARMS).map(
        ([name, arm], index) =>
          new ServerProcess(name, 'http-redis-server.ts', [arm, `${ENTRIES}`, `${KB}`, databaseOf(server, index)]),
      )
      try {
        await Promise.all(servers.map((each) => each.listens()))
        for (const each of servers) {
          const body = await (await fetch(each.origin)).text()
          assert.equal(body.length, KB, `${each.name} must answer with a value`)
        }
        const comparisons: Comparison[] = []
        for (const connections of CONNECTIONS) {
          const contestants = servers.map((each) => ({
            name: each.name,
            turn: () => measure(each, connections),
            ...(each.name === 'constant' && { isRival: false as const }),
          }))
          const title = `${connections} ${connections === 1 ? 'connection' : 'connections'}`
          comparisons.push(await interleave(title, METRICS, contestants, rounds))
        }
        return comparisons
      } finally {
        await Promise.all(servers.map((each) => each.stop()))
      }
    }),
}

async function measure(server: ServerProcess, connections: number): Promise<number[]> {
  const before = await server.processorTime()
  const load = ['-t1', `-c${connections}`, `-d${TURN_SECONDS}s`, server.origin]
  const { stdout } = await promisify(execFile)('wrk', load)
  const spent = (await server.processorTime()) - before
  assert.doesNotMatch(stdout, /Non-2xx|Socket errors/, `${server.name} must answer every request`)
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1])
  return [Number(/Requests\/sec:\s*([\d.]+)/.exec(stdout)?.[1]), spent / requests]
}
