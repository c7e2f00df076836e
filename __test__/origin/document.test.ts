/** What docs/origin.md says, against the code. */

import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { Cache } from '../../cache/index.ts'
import { createOrigin } from '../../origin/index.ts'
import { call, listen, receive } from './support.ts'

const root = new URL('../../', import.meta.url)
const text = await readFile(new URL('docs/origin.md', root), 'utf8')
const folder = new URL('origin/', root)
const files = await readdir(folder)
const source = (await Promise.all(files.map((file) => readFile(new URL(file, folder), 'utf8')))).join('\n')

function section(heading: string): string {
  const [, rest = ''] = text.split(`\n## ${heading}\n`)
  return rest.split('\n## ')[0] ?? ''
}

function rows(of: string): string[][] {
  const lines = of.split('\n').filter((line) => line.startsWith('| `'))
  return lines.map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')))
}

test('the error table has a row for every code, with its status', () => {
  const thrown = [...source.matchAll(/[^`]new HttpError\(\s*(\d{3}),\s*'(\w+)'/g)].map(
    ([, status, code]) => `${status} ${code}`,
  )
  const others = ['405 method_not_allowed', '500 internal_error', '422 invalid_params', '422 invalid_args']
  for (const other of others) expect(source).toContain(`'${other.slice(4)}'`)
  const documented = rows(section('Errors')).map(([, code, status]) => `${status} ${code}`)
  expect(documented.toSorted()).toEqual([...new Set([...thrown, ...others])].toSorted())
})

test('the option table has a row for every option, with its default', () => {
  const names = [...source.matchAll(/readOptions\('options(.*?)', \w+, \[(.*?)\]\)/g)].flatMap(
    ([, limits = '', list = '']) => [...list.matchAll(/'(\w+)'/g)].map(([, name]) => `${limits}.${name}`.slice(1)),
  )
  const table = rows(section('Options'))
  expect(table.map(([, name]) => name).toSorted()).toEqual(names.filter((name) => name !== 'limits').toSorted())
  const defaults = Object.fromEntries(table.map(([, name = '', value]) => [name, value]))
  const number = (name: string) =>
    Number(new RegExp(`${name} = ([\\d_]+)`).exec(source)?.[1]?.replaceAll('_', '')).toLocaleString('en')
  expect(defaults['limits.bodyBytes']).toBe(number('bodyBytes'))
  expect(defaults['limits.waitMs']).toBe(number('DEFAULT_WAIT_MS'))
  expect(defaults['limits.loadMs']).toBe(number('DEFAULT_LOAD_MS'))
  expect(source).toContain(`basePath = '${defaults.basePath}'`)
  expect(source).toContain(`onError = ${defaults.onError}`)
})

test('the example answers what is said below it', async () => {
  const [, example = '', below = ''] = /```ts\n([\s\S]*?)```\n\n(.*)/.exec(text) ?? []
  const program = example.replace(/^import .*$/gm, '').replace(/^createServer\((.*?)\).*$/m, 'return $1')
  const names = { Cache, createOrigin, z }
  const address = await listen(new Function(...Object.keys(names), program)(...Object.values(names)))
  const [read = '', name = '', , sent = '', answered = ''] = [...below.matchAll(/`(?:GET )?(.*?)`/g)].map(
    ([, code = '']) => code,
  )
  expect((await receive(fetch(address + read))).text).toBe(name)
  const { fn, args } = JSON.parse(sent)
  const [path, init] = call(fn, args)
  expect((await receive(fetch(address + path, init))).text).toBe(answered)
  expect((await receive(fetch(address + read))).text).toBe(name.replace('Ada', args.name))
})
