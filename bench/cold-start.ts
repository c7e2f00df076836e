/**
 * How long `require` and `import` of the package take, as it is installed from its tarballs, in fresh processes against
 * a module that is empty. The arms take turns, in an order that rotates; a difference is of two arms of one round.
 */

import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startRegistry } from '../__test__/packaging/registry.ts'
import { describeHost, median, withSpread } from './statistics.ts'

const ROUNDS = 25

const project = mkdtempSync(join(tmpdir(), 'mizan-cold-start-'))
try {
  await install(project)
  measure(project)
} finally {
  rmSync(project, { recursive: true, force: true })
}

/** An empty project in which the package is installed as a user installs it, beside an empty one. */
async function install(directory: string): Promise<void> {
  writeFileSync(join(directory, 'package.json'), '{ "private": true }')
  const registry = await startRegistry()
  try {
    writeFileSync(join(directory, '.npmrc'), `@mizan:registry=${registry.url}\n`)
    await promisify(execFile)('npm', ['install', '--no-audit', '--no-fund', '@mizan/cache'], { cwd: directory })
  } finally {
    await registry.close()
  }

  const empty = join(directory, 'node_modules', 'empty')
  mkdirSync(empty)
  const exports = { '.': { import: './index.mjs', require: './index.cjs' } }
  writeFileSync(join(empty, 'package.json'), JSON.stringify({ name: 'empty', version: '1.0.0', exports }))
  writeFileSync(join(empty, 'index.mjs'), 'export {}\n')
  writeFileSync(join(empty, 'index.cjs'), '')
}

function measure(directory: string): void {
  const arms = [
    { name: 'require, empty', load: (file: string) => program(`${file}.cjs`, `require('empty')`) },
    { name: 'require, package', load: (file: string) => program(`${file}.cjs`, `require('@mizan/cache')`) },
    { name: 'import, empty', load: (file: string) => program(`${file}.mjs`, `await import('empty')`) },
    { name: 'import, package', load: (file: string) => program(`${file}.mjs`, `await import('@mizan/cache')`) },
    { name: 'require, empty again', load: (file: string) => program(`${file}.cjs`, `require('empty')`) },
  ].map(({ name, load }, index) => ({ name, file: load(join(directory, `arm-${index}`)), load: [], whole: [] })) as {
    name: string
    file: string
    load: number[]
    whole: number[]
  }[]

  function program(file: string, statement: string): string {
    writeFileSync(file, `const start = performance.now(); ${statement}; console.log(performance.now() - start)\n`)
    return file
  }

  // The first round fills the file system's cache and is not counted.
  for (let round = -1; round < ROUNDS; round++) {
    for (let turn = 0; turn < arms.length; turn++) {
      const arm = arms[(round + 1 + turn) % arms.length] as (typeof arms)[number]
      const start = performance.now()
      const printed = execFileSync(process.execPath, [arm.file], { encoding: 'utf8' })
      const whole = performance.now() - start
      if (round < 0) continue
      arm.load.push(Number(printed))
      arm.whole.push(whole)
    }
  }

  const [requireEmpty, requirePackage, importEmpty, importPackage, again] = arms as [Arm, Arm, Arm, Arm, Arm]
  const over = (arm: Arm, base: Arm) => ({
    arm: arm.name,
    'load, ms': withSpread(arm.load),
    'over empty, ms': withSpread(arm.load.map((each, round) => each - (base.load[round] as number))),
    'whole process, ms': Math.round(median(arm.whole)),
    'whole, over empty, ms': withSpread(arm.whole.map((each, round) => each - (base.whole[round] as number))),
  })
  console.log(`Medians of ${ROUNDS} fresh processes each, least to greatest`)
  console.table([
    over(requirePackage, requireEmpty),
    over(importPackage, importEmpty),
    { ...over(again, requireEmpty), arm: 'noise: require, empty' },
  ])
  console.log(describeHost())

  type Arm = (typeof arms)[number]
}
