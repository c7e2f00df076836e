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
import { describeHost, withSpread } from './statistics.ts'

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

interface Arm {
  name: string
  file: string
  /** Milliseconds of each round, by the clock and of CPU in all threads. */
  load: number[]
  cpu: number[]
}

function writeArm(directory: string, name: string, extension: string, statement: string): Arm {
  const file = join(directory, `${name.replaceAll(' ', '-')}.${extension}`)
  writeFileSync(
    file,
    `const cpu = process.cpuUsage(), start = performance.now()
${statement}
const load = performance.now() - start, { user, system } = process.cpuUsage(cpu)
console.log(JSON.stringify({ load, cpu: (user + system) / 1000 }))
`,
  )
  return { name, file, load: [], cpu: [] }
}

function measure(directory: string): void {
  const empty = writeArm(directory, 'require empty', 'cjs', `require('empty')`)
  const emptyAgain = writeArm(directory, 'require empty again', 'cjs', `require('empty')`)
  const required = writeArm(directory, 'require', 'cjs', `require('@mizan/cache')`)
  const emptyModule = writeArm(directory, 'import empty', 'mjs', `await import('empty')`)
  const imported = writeArm(directory, 'import', 'mjs', `await import('@mizan/cache')`)
  const arms = [empty, required, emptyModule, imported, emptyAgain]

  // The first round fills the file system's cache and is not counted.
  for (let round = 0; round <= ROUNDS; round++) {
    for (let turn = 0; turn < arms.length; turn++) {
      const arm = arms[(round + turn) % arms.length] as Arm
      const { load, cpu } = JSON.parse(execFileSync(process.execPath, [arm.file], { encoding: 'utf8' }))
      if (round > 0) {
        arm.load.push(load)
        arm.cpu.push(cpu)
      }
    }
  }

  const difference = (of: number[], base: number[]) =>
    withSpread(of.map((each, round) => each - (base[round] as number)))
  const compare = (label: string, arm: Arm, base: Arm) => ({
    arm: label,
    'load, ms': withSpread(arm.load),
    'over empty, ms': difference(arm.load, base.load),
    'CPU, ms': withSpread(arm.cpu),
    'CPU over empty, ms': difference(arm.cpu, base.cpu),
  })
  console.log(`Medians of ${ROUNDS} fresh processes each, least to greatest`)
  console.table([
    compare('require', required, empty),
    compare('import', imported, emptyModule),
    compare('noise: require empty', emptyAgain, empty),
  ])
  console.log(describeHost())
}
