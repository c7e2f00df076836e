/** Runs a program of `bench/` on the build, with whatever it needs installed. */

import { join } from 'node:path'
import { build } from './build.mjs'
import { provideRedisServer } from './redis-server.mjs'
import { installPackages, provideTool, requireRust } from './setup.mjs'
import { run, runMain } from './system.mjs'

await runMain(async () => {
  const [program = '', ...args] = process.argv.slice(2)
  await requireRust()
  await installPackages()
  await installPackages('bench')
  process.env.REDIS_SERVER = await provideRedisServer()
  await provideTool('wrk', 'wrk', 'The benchmark puts servers under load')
  await build()
  if (!(await run('npx', ['tsx', join('bench', program), ...args]))) {
    process.exitCode = 1
  }
})
