/** The committed typings against those of the build. As a program with --write: commits to the build's. */

import { copyFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isProgram, root, runMain } from './system.mjs'

const BUILT = join(root, 'dist', 'index.d.mts')
const COMMITTED = join(root, 'index.d.ts')

/** @returns {Promise<boolean>} */
export async function checkTypings() {
  const [built, committed] = await Promise.all([readText(BUILT), readText(COMMITTED)])
  if (built === committed) {
    return true
  }
  console.error('index.d.ts is not what the build generates: run `npm run typings` and look at the difference.')
  return false
}

/** @param {string} path */
async function readText(path) {
  return await readFile(path, 'utf8').catch(() => undefined)
}

if (isProgram(import.meta.url)) {
  await runMain(async () => {
    if (process.argv.includes('--write')) {
      await copyFile(BUILT, COMMITTED)
    } else if (!(await checkTypings())) {
      process.exitCode = 1
    }
  })
}
