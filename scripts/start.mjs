/** `npm start`: builds what is not built yet, then opens the shop of `examples/origin`. */

import { build } from './build.mjs'
import { installPackages, requireRust } from './setup.mjs'
import { runMain } from './system.mjs'

await runMain(async () => {
  await requireRust()
  await installPackages()
  await build()
  // In this very process, so that Ctrl-C reaches the shop and nobody else.
  await import('../examples/origin/main.mjs')
})
