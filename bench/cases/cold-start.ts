import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startRegistry } from '../../__test__/packaging/registry.ts'
import type { Metric } from '../results.ts'
import { type Contestant, interleave } from '../rounds.ts'
import type { Case } from './case.ts'

const METRICS: Metric[] = [
  { name: 'ms', unit: 'ms', better: 'less', plot: true },
  { name: 'processor, ms', unit: 'ms', better: 'less' },
]

export const coldStart: Case = {
  text: 'How long `import` and `require` take in fresh processes: of this package as it is installed from its tarballs, of an empty module, and of the clients.',
  rounds: 20,
  async run(rounds) {
    const project = mkdtempSync(join(tmpdir(), 'mizan-cold-start-'))
    try {
      await install(project)
      const peers = ['@redis/client', 'ioredis', 'iovalkey', '@valkey/valkey-glide', 'lru-cache']
      const imports: [string, string][] = [
        ['mizan', '@mizan/cache'],
        ['an empty module', 'empty'],
        ...peers.map((peer): [string, string] => [peer, import.meta.resolve(peer)]),
        ['mizan again', '@mizan/cache'],
      ]
      const requires: [string, string][] = [
        ['mizan', '@mizan/cache'],
        ['an empty module', 'empty'],
        ['mizan again', '@mizan/cache'],
      ]
      return [
        await interleave(
          'import',
          METRICS,
          imports.map(([name, module]) => loading(project, name, 'mjs', `await import(${JSON.stringify(module)})`)),
          rounds,
        ),
        await interleave(
          'require',
          METRICS,
          requires.map(([name, module]) => loading(project, name, 'cjs', `require(${JSON.stringify(module)})`)),
          rounds,
        ),
      ]
    } finally {
      rmSync(project, { recursive: true, force: true })
    }
  },
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

/** Milliseconds that a statement takes, by the clock and of the processor in all threads. */
function loading(directory: string, name: string, extension: string, statement: string): Contestant {
  const file = join(directory, `${name.replaceAll(/\W/g, '-')}.${extension}`)
  writeFileSync(
    file,
    `const cpu = process.cpuUsage(), start = performance.now()
${statement}
const load = performance.now() - start, { user, system } = process.cpuUsage(cpu)
console.log(JSON.stringify([load, (user + system) / 1000]))
process.exit()
`,
  )
  return { name, turn: async () => JSON.parse(execFileSync(process.execPath, [file], { encoding: 'utf8' })) }
}
