/**
 * The suites that need nothing of Node alone, on Bun and on Deno: the same code drives Redis there. As a program it runs
 * them all: `npm run test:runtimes`.
 */

import { join } from 'node:path'
import { collect, isProgram, root, runMain } from './system.mjs'

/** How each runs a program. */
export const RUNTIMES = {
  Bun: ['bun', '--bun'],
  Deno: ['deno', 'run', '--allow-all'],
}

const SUITES = ['lease', 'batch', 'order', 'cache', 'large-values', 'local', 'broad-purge', 'pending-purges', 'rights']

/**
 * Runs the suites on a runtime.
 * @param {keyof typeof RUNTIMES} name
 * @returns {Promise<{ ok: boolean, passed: number, failed: number }>}
 */
export async function testOn(name) {
  const [command = '', ...args] = RUNTIMES[name]
  const suites = SUITES.map((suite) => join('__test__', 'redis', `${suite}.test.ts`))
  const vitest = [join('node_modules', 'vitest', 'vitest.mjs'), 'run', '--pool=threads', ...suites]
  // Not the colours: the counts are read.
  const options = { show: true, environment: { NO_COLOR: '1', FORCE_COLOR: '0' } }
  const { ok, output } = await collect(join(root, 'node_modules', '.bin', command), [...args, ...vitest], options)
  const counts = /^\s*Tests .*$/m.exec(output)?.[0] ?? ''
  const count = (/** @type {string} */ what) => Number(new RegExp(`(\\d+) ${what}`).exec(counts)?.[1] ?? 0)
  const [passed, failed] = [count('passed'), count('failed')]
  // Deno has no end of its own for the threads of vitest, and says so after all tests.
  return { ok: failed === 0 && passed > 0 && (ok || name === 'Deno'), passed, failed }
}

if (isProgram(import.meta.url)) {
  await runMain(async () => {
    for (const name of /** @type {(keyof typeof RUNTIMES)[]} */ (Object.keys(RUNTIMES))) {
      console.log(`\n=== ${name}`)
      if (!(await testOn(name)).ok) process.exitCode = 1
    }
  })
}
