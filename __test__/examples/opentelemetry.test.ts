/** `examples/opentelemetry` as a reader runs it: the program, and what it prints. */

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { root } from '../../scripts/system.mjs'
import { RedisServer } from '../support/redis-server.ts'

const run = promisify(execFile)

async function runExample(redisUrl: string): Promise<string[]> {
  const environment = { ...process.env, MIZAN_CACHE_REDIS_URL: redisUrl, MIZAN_CACHE_SECRET: undefined }
  const program = join('examples', 'opentelemetry', 'main.mjs')
  const { stdout, stderr } = await run(process.execPath, [program], { cwd: root, env: environment })
  expect(stderr).toBe('')
  return stdout.trim().split('\n')
}

const CALLS = [
  'mizan.cache.call.duration operation=lookup outcome=miss context=otel.profile = 1 calls',
  'mizan.cache.call.duration operation=put outcome=stored context=otel.profile = 1 calls',
  'mizan.cache.call.duration operation=get outcome=hit context=otel.profile = 1 calls',
  'mizan.cache.call.duration operation=purge outcome=purged context=otel.profile = 1 calls',
]
const COUNTERS = ['mizan.cache.hits = 1', 'mizan.cache.misses = 1', 'mizan.cache.stores = 1', 'mizan.cache.purges = 1']

test('shows the metrics of a cache in memory', async () => {
  const lines = await runExample('')
  expect(lines).toEqual(expect.arrayContaining([...CALLS, ...COUNTERS]))
  expect(lines).toContain('mizan.cache.redis.duration operation=read = 0 calls')
  expect(lines.join('\n')).not.toContain('connected')
})

test('shows those of a cache on Redis, with latencies and the log', async () => {
  const server = await RedisServer.start()
  onTestFinished(() => server.stop())
  const lines = await runExample(server.url)
  expect(lines).toEqual(expect.arrayContaining([...CALLS, ...COUNTERS]))
  expect(lines).toEqual(
    expect.arrayContaining([
      'info: connected to Redis',
      'mizan.cache.connected = 1',
      'mizan.cache.redis.duration operation=read = 2 calls',
      'mizan.cache.redis.duration operation=write = 1 calls',
      'mizan.cache.redis.duration operation=purge = 1 calls',
    ]),
  )
})
