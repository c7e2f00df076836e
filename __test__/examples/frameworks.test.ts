/** The example of each framework, run as a program on the built package and asked over HTTP. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { type Observer, RedisServer } from '../support/redis-server.ts'
import { ServerProgram } from './program.ts'
import { findBun, findDeno } from './runtimes.ts'

const node = async () => process.execPath

const programs: { name: string; runtime: () => Promise<string>; args: string[] }[] = [
  ...['node-http', 'express', 'fastify', 'hono'].map((name) => ({
    name,
    runtime: node,
    args: [`examples/frameworks/${name}.mjs`],
  })),
  { name: 'a route handler of Next', runtime: node, args: ['__test__/examples/next-server.mjs'] },
  { name: 'bun', runtime: findBun, args: ['examples/frameworks/bun.mjs'] },
  { name: 'deno', runtime: findDeno, args: ['run', '--allow-all', 'examples/frameworks/deno.mjs'] },
]

let redis: RedisServer
let observer: Observer

beforeAll(async () => {
  redis = await RedisServer.start()
  observer = await redis.observe()
})

afterAll(() => redis?.stop())

describe.for(programs)('$name', ({ runtime, args }) => {
  test.for(['memory', 'redis'])('reads, keeps, and purges what a mutation changes: %s', async (backend) => {
    await observer.flushAll()
    const { request } = await start(backend === 'redis' ? { MIZAN_CACHE_REDIS_URL: redis.url } : {})

    expect(await request('/ctx/book/?book_id=1')).toEqual({
      status: 200,
      cacheStatus: 'mizan; fwd=miss',
      invalidate: null,
      body: { book_title: 'Notes on the Analytical Engine' },
    })
    await eventually('it is stored', async () => {
      const { cacheStatus, body } = await request('/ctx/book/?book_id=01&utm_source=elsewhere')
      expect(body).toEqual({ book_title: 'Notes on the Analytical Engine' })
      return cacheStatus === 'mizan; hit'
    })
    expect(await observer.dbSize()).toBe(backend === 'redis' ? 1 : 0)
    await eventually('the other book is stored', async () => {
      return (await request('/ctx/book/?book_id=2')).cacheStatus === 'mizan; hit'
    })

    expect(
      await call('correct_title', { book_id: 1, title: 'Notes on the Analytical Engine, by its Translator' }),
    ).toEqual({
      status: 200,
      cacheStatus: null,
      invalidate: 'book;book_id=1',
      body: { result: null, invalidate: [{ context: 'book', params: { book_id: 1 } }] },
    })
    expect(await request('/ctx/book/?book_id=1')).toMatchObject({
      cacheStatus: 'mizan; fwd=miss',
      body: { book_title: 'Notes on the Analytical Engine, by its Translator' },
    })
    expect(await request('/ctx/book/?book_id=2')).toMatchObject({ cacheStatus: 'mizan; hit' })

    async function call(fn: string, args: object) {
      return request('/call/', { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ fn, args }) })
    }
  })

  test('leaves every refusal to the origin', async () => {
    const { request } = await start()
    const post = (headers: Record<string, string>, body: string | Uint8Array<ArrayBuffer>) =>
      request('/call/', { method: 'POST', headers, body })
    expect(await request('/ctx/stranger/')).toMatchObject({ status: 404, body: { error: { code: 'unknown_context' } } })
    expect(await request('/stranger')).toMatchObject({ status: 404, body: { error: { code: 'not_found' } } })
    expect(await request('/ctx/book/?book_id=one')).toMatchObject({ status: 422 })
    expect(await request('/ctx/book/?book_id=1', { method: 'DELETE' })).toMatchObject({ status: 405 })
    expect(await request('/ctx/book/?book_id=1', { method: 'HEAD' })).toMatchObject({ status: 200, body: null })
    expect(await request('/call/', { method: 'OPTIONS' })).toMatchObject({ status: 204 })
    expect(await post({ 'content-type': 'text/plain' }, '{}')).toMatchObject({ status: 415 })
    // Bytes, since a text gets a type from fetch.
    expect(await post({}, new TextEncoder().encode('{}'))).toMatchObject({ status: 415 })
    expect(await post(JSON_TYPE, '{')).toMatchObject({ status: 400, body: { error: { code: 'invalid_json' } } })
    expect(await post(JSON_TYPE, '')).toMatchObject({ status: 400, body: { error: { code: 'invalid_json' } } })
    expect(await post(JSON_TYPE, ' '.repeat(1_048_577))).toMatchObject({
      status: 413,
      body: { error: { code: 'body_too_large' } },
    })
  })

  async function start(environment: NodeJS.ProcessEnv = {}) {
    const { address } = await ServerProgram.start(await runtime(), args, environment)
    return {
      request: async (path: string, init?: RequestInit) => {
        const response = await fetch(`${address}/api/mizan${path}`, init)
        expect(response.headers.get('cache-control'), `${init?.method ?? 'GET'} ${path}`).toBe('no-store')
        const text = await response.text()
        return {
          status: response.status,
          cacheStatus: response.headers.get('cache-status'),
          invalidate: response.headers.get('x-mizan-invalidate'),
          body: text === '' ? null : JSON.parse(text),
        }
      },
    }
  }
})

const JSON_TYPE = { 'content-type': 'application/json' }
