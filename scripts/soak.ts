/**
 * `npm run soak`: resident memory over a million entries stored, read and purged in memory, and 200,000 on Redis; and over
 * promises, caches and threads let go again and again, with open files and threads counted as well.
 */

import {
  type LetGo,
  MEMORY_BOUND_MIB,
  type MemoryRun,
  runLeakCampaign,
  runMemoryCampaign,
} from '../__test__/support/process-memory.ts'
import { RedisServer } from '../__test__/support/redis-server.ts'

/** Calls ten at once of each kind, and so many times: caches with a connection of their own, threads with two. */
const LET_GO: Record<LetGo, number> = {
  promises: 60_000,
  closed: 15_000,
  heard: 15_000,
  dropped: 15_000,
  unused: 60_000,
  workers: 600,
}

function report(name: string, { samples, growth }: MemoryRun): void {
  const isFlat = growth < MEMORY_BOUND_MIB
  console.log(`${name}: ${samples.map((each) => each.toFixed(1)).join(' ')} MiB`)
  console.log(
    `  ${growth.toFixed(1)} MiB from the second third to the last (bound ${MEMORY_BOUND_MIB}): ${isFlat ? 'flat' : 'GROWS'}`,
  )
  if (!isFlat) {
    process.exitCode = 1
  }
}

async function cycles(name: string, url: string, count: number): Promise<void> {
  report(`${name}, ${count.toLocaleString('en')} cycles`, await runMemoryCampaign(url, count))
}

async function letGo(name: string, url: string, what: LetGo): Promise<void> {
  const { before, after, memory } = await runLeakCampaign(url, what, LET_GO[what])
  report(`${name}, ${LET_GO[what].toLocaleString('en')} times ${what}`, memory)
  const [first, last] = [before, after].map((held) => JSON.stringify(held))
  console.log(`  held before ${first}, after ${last}: ${first === last ? 'all gone' : 'LEAKS'}`)
  if (first !== last) {
    process.exitCode = 1
  }
}

await cycles('memory', 'memory', 1_000_000)
for (const what of ['closed', 'dropped'] as const) await letGo('memory', 'memory', what)
const server = await RedisServer.start()
try {
  await cycles('Redis', server.url, 200_000)
  for (const what of Object.keys(LET_GO) as LetGo[]) await letGo('Redis', server.url, what)
} finally {
  await server.stop()
}
