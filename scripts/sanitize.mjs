/**
 * `npm run sanitize`: the tests of the core, and those of Node on an addon, under AddressSanitizer. First it provokes a
 * fault that the sanitizer must find, and panics that the addon must survive.
 */

import { cp, mkdir, readdir, readFile, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { installPackages, requireRust } from './setup.mjs'
import { collect, PlainError, root, run, runMain } from './system.mjs'

const TARGET = 'x86_64-unknown-linux-gnu'
const ADDON = 'mizan-cache.linux-x64-gnu.node'
const directory = join(root, 'target', 'sanitize')
const tree = join(directory, 'tree')
const reports = join(directory, 'reports')
/** Not by the name of the library that GCC or clang has: it would take itself for a second one. */
const runtime = join(directory, 'sanitizer.so')
const EXAMPLE = ['build', '--quiet', '--package', 'mizan-cache-core', '--example', 'conformance']
const SUITES = ['conformance', 'redis', 'process', 'origin', 'adversarial']
/**
 * Of the Worker, which has no addon and does not start beside the runtime; of memory, of which the sanitizer takes; and
 * of panics, which are a step of their own here.
 */
const LEFT_OUT = ['adversarial/edge', 'adversarial/invalidation-header', 'process/memory', 'process/panics']

/** A stable compiler has the sanitizer, and lets only those use it who say this. */
const instrumented = {
  RUSTC_BOOTSTRAP: '1',
  RUSTFLAGS: '-Zsanitizer=address -Cforce-frame-pointers=yes',
  CARGO_TARGET_DIR: directory,
  CARGO_PROFILE_DEV_OPT_LEVEL: '1',
}

/** Node's own allocations at its end are no leaks of the addon; what leaks is seen by `npm run soak`. */
const preloaded = { LD_PRELOAD: runtime, ASAN_OPTIONS: `detect_leaks=0:log_path=${join(reports, 'asan')}` }

await runMain(async () => {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new PlainError('The sanitizer is set up for Linux x64 only.')
  }
  await requireRust()
  await installPackages()
  await rm(reports, { recursive: true, force: true })
  await mkdir(reports, { recursive: true })
  await linkRuntime()
  await step('The tests of the core', () =>
    run('cargo', ['test', '--package', 'mizan-cache-core', '--lib', '--tests', '--target', TARGET], instrumented),
  )
  await step('The addon, with faults on purpose', () =>
    run('cargo', ['build', '--package', 'mizan-cache', '--features', 'faults', '--target', TARGET], instrumented),
  )
  await stageTree()
  await step('A read of freed memory is found', async () => {
    const { ok } = await provoke('readFreed')
    const found = (await readReports()).includes('heap-use-after-free')
    await rm(reports, { recursive: true })
    await mkdir(reports)
    return !ok && found
  })
  await step('A panic is an error of its call or promise, and nothing more', async () => {
    const { ok, output } = await provoke('panics')
    const expected = ['a call: ERR_MIZAN_INTERNAL', 'its purge: 1 pending', 'and goes on: connects']
    return ok && expected.every((line) => output.includes(line))
  })
  // The tests run this by cargo, and a compiler hangs beside the sanitizer's runtime: then there is nothing to compile.
  await step('The Rust side of the comparison with other languages', () =>
    run('cargo', [...EXAMPLE, '--manifest-path', join(tree, 'Cargo.toml')]),
  )
  // Many more processes than usual run twice as slow and more.
  const suites = SUITES.map((suite) => `__test__/${suite}`)
  const leftOut = LEFT_OUT.map((file) => `--exclude=__test__/${file}.test.ts`)
  await step(`The tests of ${SUITES.join(', ')}`, () =>
    run('npx', ['vitest', 'run', '--root', tree, '--testTimeout=300000', ...suites, ...leftOut], preloaded),
  )
  await step('No report of the sanitizer', async () => {
    console.log(await readReports())
    return (await readdir(reports)).length === 0
  })
})

/**
 * @param {string} title
 * @param {() => Promise<boolean>} holds
 */
async function step(title, holds) {
  console.log(`\n=== ${title}`)
  const held = await holds()
  console.log(held ? 'ok' : `FAILED: ${title}`)
  if (!held) process.exitCode = 1
}

/** The compiler has the sanitizer's runtime for programs; Node, which is none of ours, loads it as a library. */
async function linkRuntime() {
  const { output } = await collect('rustc', ['--print', 'sysroot'])
  const libraries = join(output.trim(), 'lib', 'rustlib', TARGET, 'lib')
  const archive = (await readdir(libraries).catch(() => [])).find((name) => /^librustc-.*_rt\.asan\.a$/.test(name))
  if (archive === undefined) {
    throw new PlainError(
      `This Rust toolchain has no AddressSanitizer: there is no librustc-*_rt.asan.a in ${libraries}.`,
    )
  }
  const copy = join(directory, 'asan.a')
  await cp(join(libraries, archive), copy)
  // Its start before all others is for programs only.
  await collect('ar', ['d', copy, 'asan_preinit.cpp.o'])
  const whole = ['-Wl,--whole-archive', copy, '-Wl,--no-whole-archive']
  if (!(await run('cc', ['-shared', '-o', runtime, ...whole, '-lpthread', '-ldl', '-lm', '-lrt']))) {
    throw new PlainError('The runtime of the sanitizer cannot be linked: it takes cc and ar, as of gcc and binutils.')
  }
}

/** This repository as it is, but for the addon. */
async function stageTree() {
  await rm(tree, { recursive: true, force: true })
  const { output } = await collect('git', ['ls-files', '--cached', '--others', '--exclude-standard'])
  for (const file of output.trim().split('\n')) {
    await mkdir(dirname(join(tree, file)), { recursive: true })
    await cp(join(root, file), join(tree, file))
  }
  await cp(join(root, 'dist'), join(tree, 'dist'), { recursive: true })
  await symlink(join(root, 'node_modules'), join(tree, 'node_modules'))
  await symlink(join(root, 'target'), join(tree, 'target'))
  await cp(join(directory, TARGET, 'debug', 'libmizan_cache.so'), join(tree, ADDON))
}

/** @param {string} fault */
function provoke(fault) {
  const program = join(tree, '__test__', 'process', 'faults-program.mjs')
  return collect(process.execPath, [program, join(tree, ADDON), fault], { environment: preloaded })
}

async function readReports() {
  const names = await readdir(reports)
  const texts = await Promise.all(names.map((name) => readFile(join(reports, name), 'utf8')))
  return texts.join('\n')
}
