/**
 * `npm run fuzz:core -- [--quiet 5] [target…]`: runs each fuzz target of the core until it has found no new coverage for
 * so many minutes, then leaves the smallest corpus that covers the same in core/fuzz/corpus.
 */

import { spawn } from 'node:child_process'
import { cp, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { requireRust } from './setup.mjs'
import { collect, PlainError, root, run, runMain } from './system.mjs'

const DIRECTORY = join(root, 'core', 'fuzz')

// A stable compiler has what the sanitizers need, and lets only those use it who say this.
process.env.RUSTC_BOOTSTRAP = '1'

await runMain(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quiet: { type: 'string', default: '5' } },
  })
  await requireRust()
  if (!(await collect('cargo', ['fuzz', '--version'])).ok && !(await run('cargo', ['install', 'cargo-fuzz']))) {
    throw new PlainError('cargo-fuzz is missing and cannot be installed: cargo install cargo-fuzz')
  }
  const { output } = await collect('cargo', ['fuzz', 'list', '--fuzz-dir', DIRECTORY])
  const targets = positionals.length > 0 ? positionals : output.trim().split('\n')
  for (const target of targets) {
    if (!(await run('cargo', ['fuzz', 'build', '--fuzz-dir', DIRECTORY, target]))) {
      throw new PlainError(`The fuzz target ${target} does not build.`)
    }
  }
  for (const target of targets) console.log(await fuzz(target, Number(values.quiet)))
})

/**
 * @param {string} target
 * @param {number} quietMinutes
 */
async function fuzz(target, quietMinutes) {
  const kept = join(DIRECTORY, 'corpus', target)
  const grown = join(DIRECTORY, 'target', 'corpus', target)
  await mkdir(grown, { recursive: true })
  await cp(kept, grown, { recursive: true }).catch(() => {})
  const found = await runUntilQuiet(target, grown, quietMinutes)
  const smallest = `${grown}-smallest`
  await rm(smallest, { recursive: true, force: true })
  await mkdir(smallest)
  await collect('cargo', fuzzer(target, [smallest, grown], ['-merge=1', '-set_cover_merge=1', '-use_counters=0']))
  await rm(kept, { recursive: true, force: true })
  await mkdir(join(kept, '..'), { recursive: true })
  await rename(smallest, kept)
  const names = await readdir(kept)
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(kept, name))).size))
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  const { minutes, executions, coverage, features } = found
  return (
    `${target}: ${minutes.toFixed(0)} min, ${executions.toLocaleString('en')} executions, ${coverage} edges and ` +
    `${features} features covered, nothing new in the last ${quietMinutes} min; corpus ${names.length} files, ${bytes} bytes`
  )
}

/**
 * @param {string} target
 * @param {string[]} corpora
 * @param {string[]} flags
 */
function fuzzer(target, corpora, flags) {
  return ['fuzz', 'run', '--fuzz-dir', DIRECTORY, target, ...corpora, '--', ...flags]
}

/**
 * @param {string} target
 * @param {string} corpus
 * @param {number} quietMinutes
 */
async function runUntilQuiet(target, corpus, quietMinutes) {
  const child = spawn('cargo', fuzzer(target, [corpus], ['-print_final_stats=1']), {
    stdio: ['ignore', 'inherit', 'pipe'],
    detached: true,
  })
  const began = Date.now()
  let [executions, coverage, features, newestAt] = [0, 0, 0, began]
  /** @type {string[]} */
  const newestLines = []
  const watch = setInterval(() => {
    // The whole group: cargo does not pass on what it is told.
    if (Date.now() - newestAt > quietMinutes * 60_000 && child.pid !== undefined) process.kill(-child.pid, 'SIGINT')
  }, 1000)
  for await (const line of createInterface(child.stderr)) {
    newestLines.push(line)
    newestLines.splice(0, newestLines.length - 40)
    const status = /^#(\d+)\s.*\bcov: (\d+) ft: (\d+)/.exec(line)
    if (status === null) continue
    executions = Number(status[1])
    if (Number(status[2]) > coverage) {
      coverage = Number(status[2])
      newestAt = Date.now()
    }
    features = Number(status[3])
  }
  clearInterval(watch)
  if (newestLines.some((line) => /SUMMARY: (?!libFuzzer: run interrupted)/.test(line))) {
    throw new PlainError(`${newestLines.join('\n')}\n${target} found what must not be.`)
  }
  return { minutes: (Date.now() - began) / 60_000, executions, coverage, features }
}
