import { expect, onTestFinished, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { MEMORY_BOUND_MIB, type MemoryRun, runMemoryCampaign } from '../support/process-memory.ts'
import { Program } from '../support/process-program.ts'
import { countConnections, RedisServer } from '../support/redis-server.ts'

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

test('a cache that nobody holds any more gives its connection back, also without close', async () => {
  const server = await RedisServer.start()
  onTestFinished(() => server.stop())
  const observer = await server.observe()
  const program = new Program('collected-program.mjs', [server.url], ['--expose-gc'])
  await program.printed('used')
  expect(await countConnections(observer)).toBe(20)
  program.goOn()
  await program.printed('collected')
  await eventually('no connection is left', async () => (await countConnections(observer)) === 0)
  expect(program.hasEnded).toBe(false)
  program.stop()
})
