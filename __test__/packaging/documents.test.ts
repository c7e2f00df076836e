/** What the documents say, against the code. */

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as everything from '@mizan/cache'
import { expect, test } from 'vitest'
import benchmarks from '../../bench/package.json' with { type: 'json' }
import manifest from '../../package.json' with { type: 'json' }
import { root } from '../../scripts/system.mjs'

const run = promisify(execFile)
const read = (path: string) => readFile(join(root, path), 'utf8')

/** The part of a document under a heading, up to the next heading of the same or a higher level. */
function section(text: string, heading: string): string {
  const start = text.indexOf(`\n${heading}\n`)
  expect(start, `the heading ${heading}`).toBeGreaterThanOrEqual(0)
  const rest = text.slice(start + heading.length + 2)
  const end = rest.search(new RegExp(`^#{1,${heading.indexOf(' ')}} `, 'm'))
  return end === -1 ? rest : rest.slice(0, end)
}

/** The cells of all table rows whose first cell is code. */
function rows(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
}

const firstCode = (cells: string[]) => /^`([^`]+)`/.exec(cells[0] ?? '')?.[1] ?? ''

/** The quoted strings of a constant array in Rust. */
function rustStrings(source: string, constant: string): string[] {
  const list = new RegExp(`const ${constant}: .*? = \\[([^\\]]*)\\]`).exec(source)?.[1] ?? ''
  return [...list.matchAll(/"(\w+)"/g)].map(([, name = '']) => name)
}

test('the error table has a row for every code', async () => {
  const source = await read('core/src/error.rs')
  const codes = new Set([...source.matchAll(/"(ERR_MIZAN_[A-Z_]+)"/g)].map(([, code]) => code))
  expect(codes.size).toBeGreaterThan(10)
  const documented = rows(section(await read('README.md'), '## Errors')).map(firstCode)
  expect(documented.sort()).toEqual([...codes].sort())
})

test('the option table has a row for every option, with its default', async () => {
  const names = rustStrings(await read('src/options.rs'), 'NAMES')
  expect(names).toContain('secret')
  const table = rows(section(await read('README.md'), '## Options'))
  expect(table.map(firstCode).sort()).toEqual(names.sort())

  const documented = new Map(table.map((cells) => [firstCode(cells), cells[1]]))
  const defaults = await rustDefaults()
  for (const [option, constant] of Object.entries({
    ttl: 'TTL',
    leaseMs: 'LEASE_TIME',
    local: 'LOCAL_MAX_BYTES',
    maxBytes: 'MAX_BYTES',
    maxValueBytes: 'MAX_VALUE_BYTES',
    commandTimeoutMs: 'COMMAND_TIMEOUT',
    connectTimeoutMs: 'CONNECT_TIMEOUT',
    maxInFlight: 'MAX_IN_FLIGHT',
  })) {
    const value = option === 'ttl' ? Number(defaults.get(constant)) / 1_000 : defaults.get(constant)
    expect(documented.get(option), option).toBe(value?.toLocaleString('en'))
    defaults.delete(constant)
  }
  expect([...defaults.keys()]).toEqual([])
})

/** The core's defaults: times in milliseconds, everything else as the number it is. */
async function rustDefaults(): Promise<Map<string, number>> {
  const source = await read('core/src/config.rs')
  const constants = source.matchAll(/const DEFAULT_(\w+): \w+ = (?:Duration::from_(\w+)\()?([\d_ *]+)\)?;/g)
  return new Map(
    [...constants].map(([, name = '', unit, factors = '']) => {
      const value = factors.split('*').reduce((product, factor) => product * Number(factor.replaceAll('_', '')), 1)
      return [name, unit === 'secs' ? value * 1_000 : value]
    }),
  )
}

test('the sentinel row names every member', async () => {
  const names = rustStrings(await read('src/options.rs'), 'SENTINEL_NAMES')
  expect(names).toContain('urls')
  const row = rows(section(await read('README.md'), '## Options')).find((cells) => firstCode(cells) === 'sentinel')
  const documented = [...(row?.[2] ?? '').matchAll(/`(\w+)`/g)].map(([, name]) => name)
  expect(documented.sort()).toEqual(names.sort())
})

test('the API tables have a row for every export and every method', async () => {
  const documented = rows(section(await read('README.md'), '## API')).map(
    (cells) => /^(?:new )?(\w+)\(/.exec(firstCode(cells))?.[1],
  )
  const methods = Object.getOwnPropertyNames(everything.Cache.prototype).filter((name) => name !== 'constructor')
  expect(documented.sort()).toEqual([...Object.keys(everything), ...methods].sort())
})

test('the table of numbers has a row for each, and that of messages one for every channel', async () => {
  const document = await read('docs/observability.md')
  const numbers = rows(section(document, '## Numbers: `stats()`')).map(firstCode)
  const cache = new everything.Cache({ secret: 'a secret of the tests, 32 bytes or more' })
  expect(numbers.sort()).toEqual(Object.keys(cache.stats()).sort())
  const channels = rows(section(document, '## Messages: `node:diagnostics_channel`')).map(firstCode)
  const source = await read('cache/diagnostics.ts')
  const published = [...source.matchAll(/channel\('(mizan:cache:[a-z-]+)'\)/g)].map(([, name]) => name)
  expect(channels.sort()).toEqual(published.sort())
})

test("the README's program prints what its comments say", async () => {
  const program = /```js\n([\s\S]*?)```/.exec(await read('README.md'))?.[1] ?? ''
  const expected = [...program.matchAll(/^console\.log.* \/\/ (.*)$/gm)].map(([, line]) => `${line}\n`)
  expect(expected.length).toBeGreaterThan(1)
  await mkdir(join(root, 'target'), { recursive: true })
  // Below the root, where `@mizan/cache` is this package.
  const directory = await mkdtemp(join(root, 'target', 'readme-'))
  try {
    await writeFile(join(directory, 'program.mjs'), program)
    const environment = { ...process.env, MIZAN_CACHE_REDIS_URL: '' }
    const { stdout } = await run(process.execPath, ['program.mjs'], { cwd: directory, env: environment })
    expect(stdout).toBe(expected.join(''))
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

test('every dependency has its line, and no line is left over', async () => {
  const document = await read('docs/dependencies.md')
  const lines = (heading: string) => rows(section(document, heading)).map(firstCode).sort()
  expect(lines('## npm')).toEqual(Object.keys(manifest.dependencies))
  expect(lines('## npm, for development')).toEqual(Object.keys(manifest.devDependencies).sort())
  expect(lines('## npm, for benchmarks')).toEqual(
    Object.keys({ ...benchmarks.dependencies, ...benchmarks.devDependencies }).sort(),
  )
  expect(lines('## Rust, core')).toEqual(await crates('core/Cargo.toml'))
  expect(lines('## Rust, addon')).toEqual(await crates('Cargo.toml'))
  expect(lines('## Rust, fuzz targets')).toEqual(await crates('core/fuzz/Cargo.toml'))
})

/** The names of all dependencies in a Cargo manifest. */
async function crates(path: string): Promise<string[]> {
  const tables = (await read(path))
    .split(/^(?=\[)/m)
    .filter((table) => /^\[(target\..+\.)?(\w+-)?dependencies\]/.test(table))
  const names = tables.flatMap((table) =>
    [...table.matchAll(/^([\w-]+)(?:\.workspace)? = /gm)].map(([, name = '']) => name),
  )
  return [...new Set(names)].sort()
}
