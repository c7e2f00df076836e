/** `npm run soak`: resident memory over a million entries stored, read and purged in memory, and 200,000 on Redis. */

import { MEMORY_BOUND_MIB, runMemoryCampaign } from '../__test__/support/process-memory.ts'
import { RedisServer } from '../__test__/support/redis-server.ts'

async function campaign(name: string, url: string, cycles: number): Promise<void> {
  const { samples, growth } = await runMemoryCampaign(url, cycles)
  const isFlat = growth < MEMORY_BOUND_MIB
  console.log(`${name}, ${cycles.toLocaleString('en')} cycles: ${samples.map((each) => each.toFixed(1)).join(' ')} MiB`)
  console.log(
    `  ${growth.toFixed(1)} MiB from the second third to the last (bound ${MEMORY_BOUND_MIB}): ${isFlat ? 'flat' : 'GROWS'}`,
  )
  if (!isFlat) {
    process.exitCode = 1
  }
}

await campaign('memory', 'memory', 1_000_000)
const server = await RedisServer.start()
try {
  await campaign('Redis', server.url, 200_000)
} finally {
  await server.stop()
}
