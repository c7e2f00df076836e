import { readFile } from 'node:fs/promises'
import { Miniflare } from 'miniflare'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bundleWorker } from './support/bundle.ts'
import type { Results, Vectors } from './support/vectors.ts'

let vectors: Vectors
let results: Results
let runtime: Miniflare

beforeAll(async () => {
  const text = await readFile('__test__/vectors.json', 'utf8')
  vectors = JSON.parse(text)
  // Code, since workerd has no eval.
  const expressions = vectors.rejects.flatMap(({ name, js }) => (js ? [`${name}: () => ${js}`] : []))
  const script = await bundleWorker('__test__/edge/support/vectors-worker.ts', {
    VECTORS: JSON.stringify(text),
    EXPRESSIONS: `{ ${expressions.join(',\n')} }`,
  })
  runtime = new Miniflare({ modules: true, script, compatibilityDate: '2026-04-01' })
  results = (await (await runtime.dispatchFetch('https://edge.example/')).json()) as Results
})

afterAll(() => runtime?.dispose())

test('every vector has its bytes and its key inside workerd', () => {
  expect(results.vectors).toEqual(vectors.vectors.map(({ name, canonical, key }) => ({ name, canonical, key })))
  expect(results.vectors.length).toBeGreaterThan(70)
})

test('every input that must be refused is, with a code that says why', () => {
  const expected = vectors.rejects.filter(({ expressibleIn }) => expressibleIn.includes('js'))
  expect(results.rejects.map(({ name }) => name)).toEqual(expected.map(({ name }) => name))
  expect(results.rejects.filter(({ code }) => !code.startsWith('ERR_MIZAN_'))).toEqual([])
  expect(
    Object.fromEntries(results.rejects.map(({ name, code }) => [name, code.slice('ERR_MIZAN_'.length)])),
  ).toMatchObject({
    lone_inside: 'SURROGATE',
    lone_in_context: 'SURROGATE',
    lone_in_secret: 'SURROGATE',
    nan: 'PARAM_NUMBER',
    float_1e16: 'PARAM_NUMBER',
    int_2p64: 'PARAM_NUMBER',
    user_int_2p64: 'USER',
    rev_2p53: 'REV',
    context_null: 'CONTEXT',
    params_list: 'PARAM_TYPE',
    secret_empty: 'SECRET',
    depth_100000: 'DEPTH',
    canonical_over_1MiB: 'SIZE',
    js_undefined: 'PARAM_TYPE',
    js_sparse_array: 'PARAM_TYPE',
    js_proto_literal: 'PARAM_TYPE',
    js_cyclic: 'DEPTH',
  })
})

test('contexts are those that are legal in a key', () => {
  const refused = results.contexts.filter(([, result]) => result === 'ERR_MIZAN_CONTEXT').map(([context]) => context)
  expect(refused).toEqual(vectors.contexts.reject)
  expect(results.contexts).toHaveLength(vectors.contexts.accept.length + vectors.contexts.reject.length)
})
