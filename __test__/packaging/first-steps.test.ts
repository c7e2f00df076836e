/** The program that `npm start` runs. */

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { root } from '../../scripts/system.mjs'
import { findFreePort, RedisServer } from '../support/redis-server.ts'

const run = promisify(execFile)

const STORY = `
1. Derive: every call has one key, whatever the order of its parameters.
   ctx:first_steps.profile:f1d6003d4a791869…
   The same with the parameters swapped and 5 written as text: yes

2. Store and read.
   Before anything is stored: nothing there
   After Ada and Grace are stored, for a minute at most: {"name":"Ada"}

3. Two users: an entry that belongs to one user is invisible to another.
   Ada asks for her orders:        ["a book"]
   Grace asks for the same page:   nothing there

4. Purge one entry: Ada changed her name.
   Entries deleted: 1
   Ada's profile:   nothing there
   Grace's profile: {"name":"Grace"}

5. A slow reader cannot undo a purge.
   A reader misses, gets a lease and asks the database, which still has the old name: yes
   Meanwhile the name changes, and the entry is purged; that ends the lease.
   The reader stores the old name with its lease: refused
   What the next reader gets: nothing there

6. Purge a whole context: every entry of it, of all users.
   Profiles deleted: 1
   Orders deleted:   1
`

async function firstSteps(redisUrl: string) {
  const environment = { ...process.env, MIZAN_CACHE_REDIS_URL: redisUrl, MIZAN_CACHE_SECRET: undefined }
  return await run(process.execPath, [join('examples', 'first-steps.mjs')], { cwd: root, env: environment })
}

test('tells its story in memory', async () => {
  const { stdout, stderr } = await firstSteps('')
  expect(stdout).toBe(
    `Everything is kept in the memory of this process. Set MIZAN_CACHE_REDIS_URL to use Redis.\n${STORY}`,
  )
  expect(stderr).toBe('')
})

test.skipIf(process.platform === 'win32')('tells the same on Redis, and leaves nothing there', async () => {
  const server = await RedisServer.start()
  try {
    const { stdout, stderr } = await firstSteps(server.url)
    expect(stdout).toBe(`Everything is kept in Redis, at MIZAN_CACHE_REDIS_URL.\n${STORY}`)
    expect(stderr).toBe('')
    const observer = await server.observe()
    expect(await observer.dbSize()).toBe(0)
    expect(await observer.info('commandstats')).toContain('cmdstat_set:')
  } finally {
    await server.stop()
  }
})

test('says so when there is no Redis at that address', async () => {
  const url = `redis://127.0.0.1:${await findFreePort()}`
  await expect(firstSteps(url)).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('Redis does not answer'),
  })
})
