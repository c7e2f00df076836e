import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const PROGRAM = fileURLToPath(new URL('polluted-program.ts', import.meta.url))

/**
 * What `Request`, `Response`, WebCrypto and `Object.defineProperty` themselves read of the objects they are given, and so
 * takes effect in any program. That it shows here shows that the comparison sees what it must.
 */
const PLATFORM = ['body', 'cache', 'credentials', 'get', 'headers', 'length', 'method', 'redirect', 'signal', 'status']

test('whoever pollutes Object.prototype cannot give options to everybody: no key, scope, lease or setting changes', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', PROGRAM])
  const { seen, tried, changing } = JSON.parse(stdout)
  expect(seen).toBeGreaterThan(50)
  expect(tried).toEqual(
    expect.arrayContaining(['userId', 'rev', 'ttl', 'lease', 'redisUrl', 'auth', 'private', 'args', 'issues', 'value']),
  )
  expect(changing.sort()).toEqual(PLATFORM)
})
