import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LetGo, runLeakCampaign } from '../support/process-memory.ts'
import { RedisServer } from '../support/redis-server.ts'

// `npm run soak` is the long run, which bounds the memory too.

const letGo: { what: LetGo; name: string; rounds: number }[] = [
  { what: 'promises', name: 'promises that are kept, rejected or waited for by nobody', rounds: 100 },
  { what: 'closed', name: 'caches that are closed', rounds: 100 },
  { what: 'heard', name: 'caches that are dropped after somebody listened to them', rounds: 100 },
  { what: 'dropped', name: 'caches that are dropped after their use', rounds: 100 },
  { what: 'unused', name: 'caches that are dropped without it', rounds: 100 },
  { what: 'workers', name: 'threads that listen and are terminated in the middle of calls', rounds: 20 },
]

/** What a process holds is told by /proc. */
describe.runIf(process.platform === 'linux')('no file, no thread and nothing that keeps Node alive is left', () => {
  let server: RedisServer

  beforeAll(async () => {
    server = await RedisServer.start()
  })

  afterAll(() => server?.stop())

  // Fails for what is dropped as soon as somebody still holds it: a leak of one in ten shows.
  test.each(letGo)('of $name', async ({ what, rounds }) => {
    const { before, after } = await runLeakCampaign(server.url, what, rounds, 1)
    expect(after).toEqual(before)
  })
})
