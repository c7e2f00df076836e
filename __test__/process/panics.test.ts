import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { Program } from '../support/process-program.ts'

const LIBRARIES: NodeJS.Dict<string> = { darwin: 'libmizan_cache.dylib', win32: 'mizan_cache.dll' }
const library = LIBRARIES[process.platform] ?? 'libmizan_cache.so'
/** `npm test` builds it: an addon that also has functions which panic. */
const built = fileURLToPath(new URL(`../../target/debug/${library}`, import.meta.url))

// Without the guard of exports, or that of the engine, either ends the process or leaves promises unsettled.
test('a panic is an error of its call or promise, and nothing more', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'mizan-panics-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const addon = join(directory, 'faults.node')
  await copyFile(built, addon)
  const { code, lines } = await new Program('faults-program.mjs', [addon, 'panics']).ended
  expect(lines).toEqual([
    'a call: ERR_MIZAN_INTERNAL',
    // Not the third, which the engine was not given yet.
    'a call of the engine: restarted, 0 ERR_MIZAN_INTERNAL,1 ERR_MIZAN_INTERNAL',
    'its purge: 1 pending, 0 in flight',
    // Its entry is covered by the purge, so it is a miss at once.
    'and goes on: connects, 2 resolved',
  ])
  expect(code).toBe(0)
})
