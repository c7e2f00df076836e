/** What the commands say on a machine that lacks something: one sentence with the way to get it. */

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../../scripts/system.mjs'

const run = promisify(execFile)
let emptyDirectory: string

beforeAll(async () => {
  emptyDirectory = await mkdtemp(join(tmpdir(), 'mizan-empty-'))
})

afterAll(async () => {
  await rm(emptyDirectory, { recursive: true, force: true })
})

/** What a script prints as its error when it fails in an environment like this one but for some variables. */
async function complaint(script: string, environment: NodeJS.ProcessEnv): Promise<string> {
  const ended = run(process.execPath, [join('scripts', script)], { cwd: root, env: { ...process.env, ...environment } })
  const { code, stderr } = await ended.then(
    () => ({ code: 0, stderr: '' }),
    (error: { code: number; stderr: string }) => error,
  )
  expect(code).toBe(1)
  return stderr
}

test('a build without Rust', async () => {
  expect(await complaint('build.mjs', { PATH: emptyDirectory })).toBe(
    'Building the addon needs Rust 1.88 or newer: install it from https://rustup.rs.\n',
  )
})

test('a redis-server that is none', async () => {
  expect(await complaint('redis-server.mjs', { REDIS_SERVER: process.execPath })).toBe(
    `REDIS_SERVER (${process.execPath}) is no redis-server of version 7 or newer: correct or unset it.\n`,
  )
})
