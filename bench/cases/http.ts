import { strict as assert } from 'node:assert'
import autocannon from 'autocannon'
import type { Comparison, Metric } from '../results.ts'
import { interleave } from '../rounds.ts'
import { ServerProcess } from '../server-process.ts'
import { type Case, KB, withRedis } from './case.ts'

const CONNECTIONS = 64
const TURN_SECONDS = 1
const PATH = '/api/mizan/ctx/document/?document_id=1'

const ARMS: Record<string, string> = {
  'origin, memory': 'memory',
  'origin, Redis and copies': 'copies',
  'origin, Redis alone': 'redis',
  'constant text': 'text',
  'constant bytes': 'bytes',
  'dispatch on the port and ioredis': 'port',
  'one route by hand on these': 'by hand',
  'origin, memory again': 'memory',
}

const METRICS: Metric[] = [
  { name: 'requests/s', unit: '/s', better: 'more', plot: true },
  { name: 'processor of the server, µs each', unit: 'µs', better: 'less', plot: true },
]

export const http: Case = {
  text: `Cached context GETs over HTTP at ${CONNECTIONS} connections. The origin of this package against node:http that answers the same bytes from a constant, as text and as bytes, against the same dispatch on a cache that is written by hand on the TypeScript port of the key and ioredis, and against one route on these, without a dispatch. The load (autocannon) runs beside the servers, so that on few cores a faster server is held up by it: the processor time of the server alone still tells.`,
  rounds: 5,
  async run(rounds) {
    const comparisons: Comparison[] = []
    for (const [title, bytes] of [
      ['1 KB', KB],
      ['50 KB', 50 * KB],
    ] as const) {
      // A Redis for each size, since the entry of both has the same key.
      comparisons.push(await withRedis(({ url }) => compare(title, bytes, url, rounds)))
    }
    return comparisons
  },
}

async function compare(title: string, bytes: number, redisUrl: string, rounds: number): Promise<Comparison> {
  const servers = Object.entries(ARMS).map(
    ([name, arm]) => new ServerProcess(name, 'http-server.ts', [arm, String(bytes), redisUrl]),
  )
  try {
    await Promise.all(servers.map((server) => server.listens()))
    const bodies = new Set(await Promise.all(servers.map(cachedBody)))
    assert.equal(bodies.size, 1, 'the arms must agree')
    assert.equal([...bodies][0]?.length, bytes)
    const contestants = servers.map((server) => ({ name: server.name, turn: () => measure(server) }))
    return await interleave(title, METRICS, contestants, rounds)
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}

/** The body, when it comes from the cache. */
async function cachedBody(server: ServerProcess): Promise<string> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const response = await fetch(server.origin + PATH)
    assert.equal(response.headers.get('cache-control'), 'no-store')
    const body = await response.text()
    if (response.headers.get('cache-status') === 'mizan; hit') return body
  }
  throw new Error(`${server.name} does not answer from a cache`)
}

async function measure(server: ServerProcess): Promise<number[]> {
  const before = await server.processorTime()
  const result = await autocannon({ url: server.origin + PATH, connections: CONNECTIONS, duration: TURN_SECONDS })
  const spent = (await server.processorTime()) - before
  assert.deepEqual([result.errors, result.non2xx], [0, 0], `${server.name} must answer every request`)
  return [result['2xx'] / result.duration, spent / result['2xx']]
}
