/**
 * `npm test`: everything that a change must pass, in one command. Later steps run also when an earlier one failed;
 * only without its tools or a build there is nothing to check. Each check counts as one test in the closing line.
 */

import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from './build.mjs'
import { checkTypings } from './check-typings.mjs'
import { provideChromium } from './chromium.mjs'
import { providePython } from './python.mjs'
import { provideRedisServer } from './redis-server.mjs'
import { RUNTIMES, testOn } from './runtimes.mjs'
import { installPackages, provideRustComponents, provideTool, requireRust } from './setup.mjs'
import { collect, root, run, runMain } from './system.mjs'

const counts = { passed: 0, failed: 0, skipped: 0 }

await runMain(async () => {
  heading('Tools')
  await requireRust()
  await installPackages()
  await provideRustComponents()
  process.env.REDIS_SERVER = await provideRedisServer()
  process.env.CHROMIUM = await provideChromium()
  await provideTool('openssl', 'openssl', 'The tests make TLS certificates')
  await provideTool('ps', 'procps', 'The tests watch the processes that they start')
  await providePython()
  heading('Build')
  await build()

  await check('Committed typings are those of the build', checkTypings)
  await checkCommand('Rust format', 'cargo fmt --all --check')
  await checkCommand('Rust lints', 'cargo clippy --workspace --all-targets --quiet -- -D warnings')
  // Or nobody sees that it no longer builds until somebody asks for the whole of it.
  await checkCommand(
    'Rust lints of what the models run',
    'cargo clippy --package mizan-cache-core --tests --target-dir target/model --quiet -- -D warnings',
    { RUSTFLAGS: '--cfg mizan_model' },
  )
  await checkCommand('Rust documentation', 'cargo doc --workspace --no-deps --quiet', { RUSTDOCFLAGS: '-D warnings' })
  await checkCommand('JavaScript format and lints', 'npx biome ci')
  await checkCommand('Types', 'npm run --silent typecheck')
  await testRust()
  await checkCommand('An addon that panics on purpose', 'cargo build --package mizan-cache --features faults --quiet')
  await testNode()
  await testRuntimes()

  console.log(
    `\n${counts.passed} passed, ${counts.failed} failed${counts.skipped ? `, ${counts.skipped} skipped` : ''}`,
  )
  process.exitCode = counts.failed === 0 ? 0 : 1
})

/** @param {string} title */
function heading(title) {
  console.log(`\n=== ${title}`)
}

/**
 * @param {string} title
 * @param {() => Promise<boolean>} holds
 */
async function check(title, holds) {
  heading(title)
  const passed = await holds()
  counts[passed ? 'passed' : 'failed'] += 1
  console.log(passed ? 'ok' : `FAILED: ${title}`)
}

/**
 * @param {string} title
 * @param {string} line a command and its arguments, none of which holds a space
 * @param {NodeJS.ProcessEnv} [environment]
 */
async function checkCommand(title, line, environment) {
  const [command = '', ...args] = line.split(' ')
  await check(title, () => run(command, args, environment))
}

async function testRust() {
  heading('Rust tests')
  const { ok, output } = await collect('cargo', ['test', '--workspace', '--no-fail-fast'], { show: true })
  const found = { passed: 0, failed: 0, skipped: 0 }
  for (const [, passed, failed, ignored] of output.matchAll(
    /^test result: .* (\d+) passed; (\d+) failed; (\d+) ignored/gm,
  )) {
    found.passed += Number(passed)
    found.failed += Number(failed)
    found.skipped += Number(ignored)
  }
  count(ok, found)
}

async function testNode() {
  heading('Node tests')
  const report = join(root, 'target', 'vitest.json')
  await rm(report, { force: true })
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const ok = await run('npx', ['vitest', 'run', ...reporters])
  const found = await readFile(report, 'utf8').then(JSON.parse, () => ({}))
  count(ok, {
    passed: found.numPassedTests ?? 0,
    failed: found.numFailedTests ?? 0,
    skipped: (found.numPendingTests ?? 0) + (found.numTodoTests ?? 0),
  })
}

async function testRuntimes() {
  for (const name of /** @type {(keyof typeof RUNTIMES)[]} */ (Object.keys(RUNTIMES))) {
    heading(`Tests on ${name}`)
    const { ok, passed, failed } = await testOn(name)
    count(ok, { passed, failed, skipped: 0 })
  }
}

/**
 * Adds what a runner counted. A runner that failed without a failing test, or that ran none, is one failure.
 * @param {boolean} ok
 * @param {{ passed: number, failed: number, skipped: number }} found
 */
function count(ok, found) {
  counts.passed += found.passed
  counts.failed += found.failed || (ok && found.passed > 0 ? 0 : 1)
  counts.skipped += found.skipped
}
