/** `npm start`: builds what is not built yet, then runs the first steps. */

import { build } from './build.mjs'
import { installPackages, requireRust } from './setup.mjs'
import { run, runMain } from './system.mjs'

await runMain(async () => {
  await installPackages()
  await requireRust()
  await build()
  if (!(await run(process.execPath, ['examples/first-steps.mjs']))) {
    process.exitCode = 1
  }
})
