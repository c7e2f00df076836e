/**
 * `npm run model`: every interleaving of the memory backend and of the copies in a process under loom, and of the
 * protocol under a model checker with more readers and writers than the tests take.
 */

import { requireRust } from './setup.mjs'
import { run, runMain } from './system.mjs'

await runMain(async () => {
  await requireRust()
  // Flags change all that is built, so the result has a directory of its own.
  const build = ['test', '--target-dir', 'target/model', '--package', 'mizan-cache-core']
  const suites = [
    ['--test', 'memory_loom', '--test', 'protocol_model', '--', '--nocapture'],
    ['--lib', '--', '--nocapture', 'copies'],
  ]
  for (const suite of suites) {
    if (!(await run('cargo', [...build, ...suite], { RUSTFLAGS: '--cfg mizan_model' }))) {
      process.exitCode = 1
    }
  }
})
