import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, onTestFinished } from 'vitest'
import { Cache, type CacheOptions } from '../../cache/index.ts'
import type { Identity, Origin, RequestHead } from '../../origin/index.ts'
import { type Observer, RedisServer } from '../support/redis-server.ts'

export const SECRET = 'a secret of the tests, 32 bytes or more'

/** A cache in memory, or on the Redis of `options`, that is closed when the test is over. */
export function openCache(options: Partial<CacheOptions> = {}): Cache {
  const cache = new Cache({ secret: SECRET, local: false, ...options })
  onTestFinished(() => cache.close())
  return cache
}

/** There is no redis-server for Windows. */
export const HAS_REDIS = process.platform !== 'win32'

export const BACKENDS = HAS_REDIS ? (['memory', 'redis'] as const) : (['memory'] as const)

/** Opens caches on a backend, which is empty when a test begins. To be called in the suite that uses it. */
export function onBackend(backend: (typeof BACKENDS)[number]): typeof openCache {
  let server: RedisServer | undefined
  let observer: Observer | undefined
  if (backend === 'redis') {
    beforeAll(async () => {
      server = await RedisServer.start()
      observer = await server.observe()
    })
    beforeEach(async () => {
      await observer?.flushAll()
    })
    afterAll(() => server?.stop())
  }
  return (options) => openCache(server === undefined ? { ...options } : { redisUrl: server.url, ...options })
}

type AnyOrigin = Pick<Origin<never>, 'fetch' | 'node'>

/** Sends a request to an origin and reads the whole response. */
export type Send = (path: string, init?: RequestInit) => Promise<Received>

export interface Received {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The body as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every shape
  readonly json: any
}

/** How the suites reach an origin: as a function of a `Request`, and through a server of `node:http`. */
export const TRANSPORTS: Readonly<Record<'fetch' | 'node', (origin: AnyOrigin) => Promise<Send>>> = {
  fetch: async (origin) => (path, init) => receive(origin.fetch(new Request(`http://origin.test${path}`, init))),
  node: async (origin) => {
    const address = await listen(origin.node)
    return (path, init) => receive(fetch(address + path, init))
  },
}

/** A server of `node:http` on a free port, closed when the test is over; its address. */
export async function listen(handler: RequestListener): Promise<string> {
  const server = createServer(handler)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Every response of these suites passes here. */
export async function receive(responding: Response | Promise<Response>): Promise<Received> {
  const response = await responding
  // The comparison with the model sends tens of thousands of requests, and expect() costs more than they do.
  if (response.headers.get('cache-control') !== 'no-store') {
    expect.fail(`a response with status ${response.status} may be stored by others`)
  }
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    text,
    get json() {
      return JSON.parse(text)
    },
  }
}

/** The user is named by a header: how users prove who they are is not the origin's business. */
export function authenticate(request: RequestHead): Identity | null {
  const id = request.headers.get('x-user')
  return id === null ? null : { id }
}

/** The request of a mutation call. */
export function call(fn: string, args: unknown = {}, headers: Record<string, string> = {}): [string, RequestInit] {
  const body = JSON.stringify({ fn, args })
  return ['/api/mizan/call/', { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } }]
}

/** A promise and its settling. */
export function deferred<T = void>(): {
  promise: Promise<T>
  resolve: (value: T) => void
  reject: (error: Error) => void
} {
  let resolve: (value: T) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<T>((onResolved, onRejected) => {
    resolve = onResolved
    reject = onRejected
  })
  return { promise, resolve, reject }
}
