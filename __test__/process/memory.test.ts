import { expect, onTestFinished, test } from 'vitest'
import { MEMORY_BOUND_MIB, type MemoryRun, runMemoryCampaign } from '../support/process-memory.ts'
import { RedisServer } from '../support/redis-server.ts'

// `npm run soak` is the long run: a million cycles in memory and 200,000 on Redis.

const inMebibytes = ({ samples, growth }: MemoryRun) =>
  `resident memory ${samples.map((each) => each.toFixed(0)).join(' ')} MiB, growth ${growth.toFixed(1)} MiB`

test('resident memory stays where it is over 60,000 entries stored, read and purged in memory', async ({
  annotate,
}) => {
  const run = await runMemoryCampaign('memory', 60_000)
  await annotate(inMebibytes(run))
  expect(run.growth).toBeLessThan(MEMORY_BOUND_MIB)
})

test('and over 15,000 on Redis', async ({ annotate }) => {
  const server = await RedisServer.start()
  onTestFinished(() => server.stop())
  const run = await runMemoryCampaign(server.url, 15_000)
  await annotate(inMebibytes(run))
  expect(run.growth).toBeLessThan(MEMORY_BOUND_MIB)
})
