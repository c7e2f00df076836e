import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { createOrigin, type Identity, type Origin } from '../../origin/index.ts'
import { authenticate, deferred, listen, openCache, type Send, TRANSPORTS } from './support.ts'

const PARAMS = z.object({ user_id: z.coerce.number().int() })

const as = (user: string): RequestInit => ({ headers: { 'x-user': user } })

describe.each(['fetch', 'node'] as const)('contexts through %s', (transport) => {
  async function open(
    define: (origin: Origin<Identity>) => void,
    options: Partial<Parameters<typeof createOrigin<Identity>>[0]> = {},
  ): Promise<Send> {
    const origin = createOrigin({ cache: openCache(), authenticate, ...options })
    define(origin)
    return TRANSPORTS[transport](origin)
  }

  /** Asks until the answer comes from the cache: a store is not waited for by the answer before it. */
  async function untilHit(send: Send, path: string, init?: RequestInit) {
    return vi.waitFor(async () => {
      const response = await send(path, init)
      expect(response.headers.get('cache-status')).toBe('mizan; hit')
      return response
    })
  }

  test('the bundle has one member per function, and the second answer is the first one, byte for byte', async () => {
    const profile = vi.fn(({ user_id }: { user_id: number }) => ({ name: 'Ann', id: user_id }))
    const send = await open((origin) => {
      origin.context('user', {
        params: PARAMS,
        functions: { user_profile: profile, user_orders: async () => undefined },
      })
    })
    const first = await send('/api/mizan/ctx/user/?user_id=5')
    expect(first.status).toBe(200)
    expect(first.headers.get('content-type')).toBe('application/json')
    expect(first.headers.get('cache-status')).toBe('mizan; fwd=miss')
    expect(first.text).toBe('{"user_orders":null,"user_profile":{"id":5,"name":"Ann"}}')
    expect((await untilHit(send, '/api/mizan/ctx/user/?user_id=5')).text).toBe(first.text)
    expect(profile).toHaveBeenCalledTimes(1)
  })

  test('what is stored is the body and nothing around it', async () => {
    const cache = openCache()
    const send = await open(
      (origin) => origin.context('user', { params: PARAMS, functions: { user_profile: () => 'é' } }),
      { cache },
    )
    await send('/api/mizan/ctx/user/?user_id=5')
    await vi.waitFor(async () => expect(await cache.get('user', { user_id: 5 })).toBe('{"user_profile":"é"}'))
    expect((await send('/api/mizan/ctx/user/?user_id=5')).text).toBe('{"user_profile":"é"}')
    await cache.put('user', { user_id: 6 }, '{"user_profile":"of another origin"}')
    expect((await send('/api/mizan/ctx/user/?user_id=6')).text).toBe('{"user_profile":"of another origin"}')
  })

  test('the parameters are coerced before they reach the key', async () => {
    const run = vi.fn(({ user_id }: { user_id: number }) => user_id)
    const send = await open((origin) => origin.context('user', { params: PARAMS, functions: { user_profile: run } }))
    await send('/api/mizan/ctx/user/?user_id=05')
    expect((await untilHit(send, '/api/mizan/ctx/user/?user_id=5')).text).toBe('{"user_profile":5}')
    expect(run).toHaveBeenCalledTimes(1)
  })

  test('a parameter that is not declared reaches neither the key nor the functions', async () => {
    const run = vi.fn((params: object) => Object.keys(params))
    const loose = z.looseObject({ user_id: z.coerce.number() })
    const send = await open((origin) => origin.context('user', { params: loose, functions: { user_profile: run } }))
    expect((await send('/api/mizan/ctx/user/?user_id=5&tracking=1&__proto__=2')).text).toBe(
      '{"user_profile":["user_id"]}',
    )
    await untilHit(send, '/api/mizan/ctx/user/?tracking=2&tracking=3&user_id=5')
    expect(run).toHaveBeenCalledTimes(1)
  })

  test('to the Worker, which sends its key, the response names its entry, as the parameters are meant', async () => {
    const send = await open((origin) => {
      origin.context('user', { params: PARAMS, functions: { user_profile: () => 1 } })
      origin.context('news', { functions: { headlines: () => 1 } })
      origin.context('calendar', { params: z.object({ day: z.coerce.date() }), functions: { appointments: () => 1 } })
    })
    const entryOf = async (path: string) => (await send(path)).headers.get('x-mizan-entry')
    expect(await entryOf('/api/mizan/ctx/user/?tracking=1&user_id=05&_mizan_key=ctx:user:0')).toBe('user;user_id=5')
    expect(await entryOf('/api/mizan/ctx/news/?_mizan_key=ctx:news:0')).toBe('news')
    expect(await entryOf('/api/mizan/ctx/calendar/?day=1970-01-01&_mizan_key=ctx:calendar:0')).toBeNull()
    expect(await entryOf('/api/mizan/ctx/user/?user_id=5')).toBeNull()
  })

  test('a schema whose output has undeclared members is a defect, not an entry of everybody', async () => {
    const onError = vi.fn()
    const renaming = PARAMS.transform(({ user_id }) => ({ id: user_id }))
    const send = await open(
      (origin) => origin.context('user', { params: renaming, functions: { user_profile: ({ id }) => id } }),
      { onError },
    )
    expect((await send('/api/mizan/ctx/user/?user_id=5')).status).toBe(500)
    expect(String(onError.mock.calls[0]?.[0])).toContain('"id"')
  })

  test('functions cannot change the parameters of each other', async () => {
    const send = await open((origin) => {
      origin.context('user', {
        params: PARAMS,
        functions: {
          user_orders: (params) => Reflect.set(params, 'user_id', 6),
          user_profile: async ({ user_id }) => user_id,
        },
      })
    })
    expect((await send('/api/mizan/ctx/user/?user_id=5')).text).toBe('{"user_orders":false,"user_profile":5}')
  })

  test('an optional parameter that is absent is another entry than one that is given', async () => {
    const params = v.object({ page: v.optional(v.pipe(v.string(), v.transform(Number), v.integer())) })
    const send = await open((origin) =>
      origin.context('news', { params, functions: { headlines: ({ page }) => page ?? 'all' } }),
    )
    expect((await send('/api/mizan/ctx/news/')).text).toBe('{"headlines":"all"}')
    expect((await send('/api/mizan/ctx/news/?page=1')).text).toBe('{"headlines":1}')
    expect((await untilHit(send, '/api/mizan/ctx/news/')).text).toBe('{"headlines":"all"}')
  })

  test('values are decoded as a form encodes them', async () => {
    const params = z.object({ q: z.string() })
    const send = await open((origin) => origin.context('search', { params, functions: { results: ({ q }) => q } }))
    const values = { '?q=a+b%2B': 'a b+', '?q=%C3%A9': 'é', '?q=': '', '?q': '', '?%71=x=y&': 'x=y' }
    for (const [query, value] of Object.entries(values)) {
      expect((await send(`/api/mizan/ctx/search/${query}`)).json.results).toBe(value)
    }
  })

  test('queries are read as URLSearchParams reads them', async () => {
    const params = z.object({ a: z.string().optional(), bc: z.string().optional() })
    const send = await open((origin) => origin.context('search', { params, functions: { results: (read) => read } }))
    const piece = fc.constantFrom('a', 'bc', 'd', '=', '&', '+', '%61', '%62c', '%3D', '%26', '%2B', '%C3%A9')
    const property = fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
      const query = pieces.join('')
      const read = new URLSearchParams(query)
      const { status, json } = await send(`/api/mizan/ctx/search/?${query}`)
      if (read.getAll('a').length > 1 || read.getAll('bc').length > 1) {
        expect([status, json.error.code]).toEqual([400, 'duplicate_parameter'])
      } else {
        const given = Object.entries({ a: read.get('a'), bc: read.get('bc') }).filter(([, value]) => value !== null)
        expect(json.results).toEqual(Object.fromEntries(given))
      }
    })
    await fc.assert(property, { numRuns: 500 })
  })

  test('a body of whatever size and letters arrives as it is', async () => {
    const params = z.object({ length: z.coerce.number(), letter: z.string() })
    const page = ({ length, letter }: z.infer<typeof params>) => letter.repeat(length)
    const send = await open((origin) => origin.context('page', { params, functions: { page } }))
    for (const length of [0, 16_000, 16_373, 16_374, 70_000]) {
      for (const letter of ['a', 'é', '😀']) {
        const path = `/api/mizan/ctx/page/?length=${length}&letter=${encodeURIComponent(letter)}`
        const first = await send(path)
        expect(first.text).toBe(JSON.stringify({ page: letter.repeat(length) }))
        expect((await untilHit(send, path)).text).toBe(first.text)
      }
    }
  })

  test('parameters without a canonical form are served and not cached', async () => {
    const run = vi.fn(({ day }: { day: Date }) => day)
    const params = z.object({ day: z.coerce.date() })
    const send = await open((origin) => origin.context('calendar', { params, functions: { appointments: run } }))
    for (const _ of [1, 2]) {
      const response = await send('/api/mizan/ctx/calendar/?day=1970-01-01')
      expect(response.text).toBe('{"appointments":"1970-01-01T00:00:00.000Z"}')
      expect(response.headers.get('cache-status')).toBe('mizan; fwd=bypass')
    }
    expect(run).toHaveBeenCalledTimes(2)
  })

  test('a user-scoped context has entries for each user, and its functions know who asks', async () => {
    const run = vi.fn((_params: object, { identity }: { identity: Identity }) => `cart of ${identity.id}`)
    const send = await open((origin) => origin.context('cart', { auth: true, functions: { items: run } }))
    expect((await send('/api/mizan/ctx/cart/', as('ann'))).text).toBe('{"items":"cart of ann"}')
    expect((await send('/api/mizan/ctx/cart/', as('bob'))).text).toBe('{"items":"cart of bob"}')
    expect((await untilHit(send, '/api/mizan/ctx/cart/', as('ann'))).text).toBe('{"items":"cart of ann"}')
    expect((await untilHit(send, '/api/mizan/ctx/cart/', as('bob'))).text).toBe('{"items":"cart of bob"}')
    expect(run).toHaveBeenCalledTimes(2)
  })

  test('a user-scoped entry is not the entry of the same context without a user', async () => {
    const cache = openCache()
    await cache.put('cart', {}, '{"items":"of nobody"}')
    const send = await open(
      (origin) => origin.context('cart', { auth: true, functions: { items: (_params, { identity }) => identity.id } }),
      { cache },
    )
    expect((await send('/api/mizan/ctx/cart/', as('ann'))).text).toBe('{"items":"ann"}')
  })

  test('a user-scoped context is refused without an identity', async () => {
    const run = vi.fn(() => 'secret')
    const send = await open((origin) => origin.context('cart', { auth: true, functions: { items: run } }))
    const response = await send('/api/mizan/ctx/cart/')
    expect([response.status, response.json.error.code]).toEqual([401, 'unauthenticated'])
    expect(run).not.toHaveBeenCalled()
  })

  test.each([
    ['' as unknown],
    [undefined],
    [null],
    [Number.NaN],
    [1.5],
    [2 ** 53],
    [2n ** 64n],
    ['\ud800'],
    [{}],
    [true],
  ])('an identity whose id is %s is none', async (id) => {
    const send = await open((origin) => origin.context('cart', { auth: true, functions: { items: () => 1 } }), {
      authenticate: () => ({ id: id as string }),
    })
    expect((await send('/api/mizan/ctx/cart/')).status).toBe(401)
  })

  test('0 is a user', async () => {
    const send = await open(
      (origin) => origin.context('cart', { auth: true, functions: { items: (_params, { identity }) => identity.id } }),
      { authenticate: async () => ({ id: 0 }) },
    )
    expect((await send('/api/mizan/ctx/cart/')).text).toBe('{"items":0}')
  })

  test('the functions of a public context are not told who asks, and nobody is asked', async () => {
    const asked = vi.fn(authenticate)
    const told: object[] = []
    const send = await open(
      (origin) =>
        origin.context('news', {
          functions: {
            headlines: (_params, context) => {
              told.push(context)
              return 1
            },
          },
        }),
      { authenticate: asked },
    )
    await send('/api/mizan/ctx/news/', as('ann'))
    expect(told.map((context) => Object.keys(context).sort())).toEqual([['deadline', 'signal']])
    expect(asked).not.toHaveBeenCalled()
  })

  test('the rev of a context is the highest of its functions', async () => {
    const cache = openCache()
    const send = await open(
      (origin) =>
        origin.context('user', {
          functions: {
            user_profile: { run: () => 1, rev: 2 },
            user_orders: { run: () => 2, rev: 7 },
            user_name: () => 3,
          },
        }),
      { cache },
    )
    await send('/api/mizan/ctx/user/')
    await vi.waitFor(async () => expect(await cache.get('user', {}, { rev: 7 })).not.toBeNull())
  })

  test('the ttl of a context is the lowest of its functions', async () => {
    const cache = openCache()
    const send = await open(
      (origin) =>
        origin.context('user', {
          functions: { a: { run: () => 1, ttl: 1000 }, b: { run: () => 2, ttl: 0.3 }, c: () => 3 },
        }),
      { cache },
    )
    await send('/api/mizan/ctx/user/')
    await vi.waitFor(async () => expect(await cache.get('user', {})).not.toBeNull())
    await vi.waitFor(async () => expect(await cache.get('user', {})).toBeNull(), { timeout: 5000 })
  })

  test('one function with cache: false keeps its context out of the cache', async () => {
    const cache = openCache()
    const run = vi.fn(() => 1)
    const send = await open(
      (origin) => origin.context('clock', { functions: { now: { run, cache: false }, zone: () => 'UTC' } }),
      { cache },
    )
    await cache.put('clock', {}, '"stored by somebody"')
    for (const _ of [1, 2]) {
      expect((await send('/api/mizan/ctx/clock/')).headers.get('cache-status')).toBe('mizan; fwd=bypass')
    }
    expect(run).toHaveBeenCalledTimes(2)
  })

  test('a bundle with a failed function is not answered in part and not stored', async () => {
    const onError = vi.fn()
    let broken = true
    const send = await open(
      (origin) =>
        origin.context('user', {
          functions: {
            user_profile: () => 'Ann',
            user_orders: async () => {
              if (broken) throw new Error('connection to db-7.internal lost')
              return []
            },
          },
        }),
      { onError },
    )
    const failed = await send('/api/mizan/ctx/user/')
    expect([failed.status, failed.json]).toEqual([
      500,
      { error: { code: 'internal_error', message: 'The server failed to answer this call.', details: null } },
    ])
    expect(onError).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ message: 'connection to db-7.internal lost' }),
    )
    broken = false
    expect((await send('/api/mizan/ctx/user/')).text).toBe('{"user_orders":[],"user_profile":"Ann"}')
  })

  test('a thousand concurrent requests run the functions once', async () => {
    const gate = deferred()
    const run = vi.fn(() => gate.promise.then(() => 'once'))
    const send = await open((origin) => origin.context('news', { functions: { headlines: run } }))
    const responses = Promise.all(
      Array.from({ length: transport === 'fetch' ? 1000 : 50 }, () => send('/api/mizan/ctx/news/')),
    )
    await vi.waitFor(() => expect(run).toHaveBeenCalled())
    gate.resolve()
    const statuses = (await responses).map(({ status, text }) => `${status} ${text}`)
    expect(new Set(statuses)).toEqual(new Set(['200 {"headlines":"once"}']))
    expect(run).toHaveBeenCalledTimes(1)
  })

  test('HEAD is GET without a body; OPTIONS tells the methods', async () => {
    const send = await open((origin) => origin.context('news', { functions: { headlines: () => 1 } }))
    const head = await send('/api/mizan/ctx/news/', { method: 'HEAD' })
    expect([head.status, head.text, head.headers.get('content-type')]).toEqual([200, '', 'application/json'])
    const options = await send('/api/mizan/ctx/news/', { method: 'OPTIONS' })
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS'])
  })

  test('without Redis everything is served', async () => {
    const send = await open((origin) => origin.context('news', { functions: { headlines: () => 1 } }), {
      cache: openCache({ redisUrl: 'redis://127.0.0.1:1' }),
    })
    const response = await send('/api/mizan/ctx/news/')
    expect([response.status, response.headers.get('cache-status')]).toEqual([200, 'mizan; fwd=bypass'])
  })
})

describe('clients that go away', () => {
  test('a client that goes away leaves the load to those who wait for it', async () => {
    const gate = deferred<string>()
    const run = vi.fn((_params: object, _call: { signal: AbortSignal }) => gate.promise)
    const onError = vi.fn()
    const origin = createOrigin({ cache: openCache(), onError })
    origin.context('news', { functions: { headlines: run } })
    const address = await listen(origin.node)
    const leaving = new AbortController()
    const left = fetch(`${address}/api/mizan/ctx/news/`, { signal: leaving.signal })
    await vi.waitFor(() => expect(run).toHaveBeenCalled())
    const staying = TRANSPORTS.fetch(origin).then((send) => send('/api/mizan/ctx/news/'))
    leaving.abort()
    await expect(left).rejects.toThrow()
    gate.resolve('read')
    expect((await staying).text).toBe('{"headlines":"read"}')
    expect(run.mock.calls[0]?.[1].signal.aborted).toBe(false)
    expect(run).toHaveBeenCalledTimes(1)
    expect(onError).not.toHaveBeenCalled()
  })
})
