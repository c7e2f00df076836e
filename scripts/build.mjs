/** Builds the addon and the JavaScript around it. Cargo skips what is up to date. */

import { installPackages, requireRust } from './setup.mjs'
import { isProgram, PlainError, run, runMain } from './system.mjs'

export async function build() {
  for (const script of ['build:native', 'build:js']) {
    if (!(await run('npm', ['run', '--silent', script]))) {
      throw new PlainError(`The build failed: npm run ${script}.`)
    }
  }
}

if (isProgram(import.meta.url)) {
  await runMain(async () => {
    await requireRust()
    await installPackages()
    await build()
  })
}
