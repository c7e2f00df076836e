/** The packed package in empty projects, installed by npm as a user installs it. */

import { cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../../scripts/system.mjs'
import { run } from './command.ts'
import { nodeBinaries } from './node-binaries.ts'
import { type Registry, startRegistry } from './registry.ts'

const CONSUMERS = fileURLToPath(new URL('consumers', import.meta.url))
const TYPESCRIPT = 'typescript@7.0.2'
const EXPORTS = 'Cache,cacheGet,cachePurge,cachePut,configureCache,deriveCacheKey,onLog'

let registry: Registry
const projects: string[] = []

beforeAll(async () => {
  registry = await startRegistry()
})

afterAll(async () => {
  await registry?.close()
  await Promise.all(projects.map((project) => rm(project, { recursive: true, force: true })))
})

/** A project of its own with the files of a consumer and the package installed. */
async function createProject(consumer: string, packages: string[] = []): Promise<string> {
  const project = await mkdtemp(join(tmpdir(), `mizan-consumer-`))
  projects.push(project)
  await cp(join(CONSUMERS, consumer), project, { recursive: true })
  await writeFile(join(project, 'package.json'), '{ "private": true }\n')
  await writeFile(join(project, '.npmrc'), `@mizan:registry=${registry.url}\n`)
  const quiet = ['--no-audit', '--no-fund', '--prefix', project]
  await run('npm', ['install', ...quiet, '@mizan/cache', ...packages], { cwd: project })
  return project
}

describe.each([
  { consumer: 'esm', program: 'main.mjs', prints: `@mizan/cache as an ES module: ${EXPORTS}\n` },
  { consumer: 'cjs', program: 'main.cjs', prints: `@mizan/cache as CommonJS: ${EXPORTS}\n` },
])('the $consumer consumer', ({ consumer, program, prints }) => {
  let project: string

  beforeAll(async () => {
    project = await createProject(consumer)
  })

  test('gets the addon of this platform and no other', async () => {
    const installed = await readdir(join(project, 'node_modules', '@mizan'))
    expect(installed).toHaveLength(2)
    expect(installed).toContain('cache')
    expect(installed.find((name) => name !== 'cache')).toMatch(`cache-${process.platform}-${process.arch}`)
  })

  test.each(nodeBinaries)('runs on Node $major', async ({ provide }) => {
    expect(await run(await provide(), [program], { cwd: project })).toBe(prints)
  })
})

describe('the strict TypeScript consumer', () => {
  let project: string

  beforeAll(async () => {
    project = await createProject('typescript', [TYPESCRIPT])
    const compiler = join('node_modules', 'typescript', 'bin', 'tsc')
    for (const configuration of ['tsconfig.json', 'tsconfig.web.json']) {
      await run(process.execPath, [compiler, '--project', configuration], { cwd: project })
    }
  })

  test.each(nodeBinaries)('runs on Node $major, as a module and as CommonJS', async ({ provide }) => {
    const node = await provide()
    await run(node, [join('out', 'module.mjs')], { cwd: project })
    await run(node, [join('out', 'common.cjs')], { cwd: project })
    await run(node, [join('out', 'web.mjs')], { cwd: project })
  })
})

describe('the package', () => {
  test('holds what is needed and nothing else', async () => {
    const files = await run('tar', ['tzf', registry.tarball])
    expect(files.trim().split('\n').sort()).toEqual(
      [
        'CHANGELOG.md',
        'LICENSE',
        'README.md',
        'dist/edge.d.mts',
        'dist/edge.mjs',
        'dist/index.cjs',
        'dist/index.d.cts',
        'dist/index.d.mts',
        'dist/index.mjs',
        'dist/origin.cjs',
        'dist/origin.d.cts',
        'dist/origin.d.mts',
        'dist/origin.mjs',
        'package.json',
      ].map((file) => `package/${file}`),
    )
  })

  test('passes publint', async () => {
    await run('npx', ['publint', '--strict', 'target/packages/cache'], { cwd: root })
  })

  // Nobody resolves as Node 10 did any more, and Workers are ES modules only.
  test.each([
    ['--profile', 'node16', '--exclude-entrypoints', './edge'],
    ['--profile', 'esm-only', '--entrypoints', './edge'],
  ])('passes Are The Types Wrong: %s %s %s %s', async (...options) => {
    await run('npx', ['attw', registry.tarball, ...options], { cwd: root })
  })
})
