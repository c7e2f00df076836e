import * as v from 'valibot'
import { describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { createOrigin, HttpError, type Identity, type Origin, type OriginCache } from '../../origin/index.ts'
import { authenticate, call, deferred, openCache, type Send, TRANSPORTS } from './support.ts'

const USER_ID = z.object({ user_id: z.coerce.number().int() })

describe.each(['fetch', 'node'] as const)('mutations through %s', (transport) => {
  /** An origin with one context of each kind, and the mutations of the test. */
  async function open(
    define: (origin: Origin<Identity>) => void,
    options: { cache?: OriginCache; onError?: (error: unknown) => void } = {},
  ): Promise<{ send: Send; cache: OriginCache }> {
    const cache = options.cache ?? openCache()
    const origin = createOrigin({ cache, authenticate, ...options })
    origin.context('user', {
      params: USER_ID,
      functions: { user_profile: { run: () => 1, rev: 3 }, user_orders: () => 2 },
    })
    origin.context('cart', {
      params: z.object({ shop: z.string() }),
      auth: true,
      functions: { cart_items: () => [] },
    })
    origin.context('tag', { params: z.object({ name: z.string().toLowerCase() }), functions: { tagged: () => [] } })
    origin.context('news', { functions: { headlines: () => [] } })
    define(origin)
    return { send: await TRANSPORTS[transport](origin), cache }
  }

  /** Which of a set of entries a mutation purges. */
  async function purgedBy(
    { send, cache }: { send: Send; cache: OriginCache },
    entries: Record<string, Parameters<OriginCache['deriveKey']>>,
    ...[fn, args, headers]: Parameters<typeof call>
  ) {
    for (const [context, params, scope] of Object.values(entries)) await cache.put(context, params, '{}', scope)
    const response = await send(...call(fn, args, headers))
    expect(response.status).toBe(200)
    const purged: string[] = []
    for (const [name, entry] of Object.entries(entries)) {
      const { value } = await cache.lookup(...entry)
      if (value === null) purged.push(name)
    }
    return { purged, header: response.headers.get('x-mizan-invalidate'), invalidate: response.json.invalidate }
  }

  const USERS: Record<string, Parameters<OriginCache['deriveKey']>> = {
    five: ['user', { user_id: 5 }, { rev: 3 }],
    six: ['user', { user_id: 6 }, { rev: 3 }],
    old: ['user', { user_id: 5 }, { rev: 2 }],
    news: ['news', {}],
  }
  const CARTS: Record<string, Parameters<OriginCache['deriveKey']>> = {
    ann: ['cart', { shop: 'a' }, { userId: 'ann' }],
    ann_b: ['cart', { shop: 'b' }, { userId: 'ann' }],
    bob: ['cart', { shop: 'a' }, { userId: 'bob' }],
    five: ['cart', { shop: 'a' }, { userId: 5 }],
  }

  test('without affects there is a result and nothing else', async () => {
    const { send } = await open((origin) =>
      origin.mutation('add', { args: z.object({ a: z.number(), b: z.number() }), run: ({ a, b }) => ({ sum: a + b }) }),
    )
    const response = await send(...call('add', { a: 1, b: 2, c: 3 }))
    expect([response.status, response.text]).toEqual([200, '{"result":{"sum":3}}'])
    expect(response.headers.has('x-mizan-invalidate')).toBe(false)
  })

  test('a mutation that returns nothing has the result null', async () => {
    const { send } = await open((origin) => origin.mutation('noop', { run: () => {} }))
    expect((await send(...call('noop'))).text).toBe('{"result":null}')
  })

  test('arguments with the names of all parameters purge the one entry', async () => {
    const opened = await open((origin) =>
      origin.mutation('rename_user', {
        args: z.object({ user_id: z.number(), name: z.string() }),
        affects: ['user'],
        run: () => 1,
      }),
    )
    expect(await purgedBy(opened, USERS, 'rename_user', { user_id: 5, name: 'Ann' })).toEqual({
      purged: ['five'],
      header: 'user;user_id=5',
      invalidate: [{ context: 'user', params: { user_id: 5 } }],
    })
  })

  test('a function of a context means its context', async () => {
    const opened = await open((origin) =>
      origin.mutation('order', {
        args: v.object({ user_id: v.number() }),
        affects: ['user_orders', 'user_profile', 'headlines'],
        run: () => 1,
      }),
    )
    expect(await purgedBy(opened, USERS, 'order', { user_id: 5 })).toEqual({
      purged: ['five', 'news'],
      header: 'user;user_id=5, news',
      invalidate: [
        { context: 'user', params: { user_id: 5 } },
        { context: 'news', params: {} },
      ],
    })
  })

  test.each([
    ['a parameter is not given', z.object({ name: z.string() }), { name: 'Ann' }],
    ['an optional argument is left out', z.object({ user_id: z.number().optional() }), {}],
    ['it is null', z.object({ user_id: z.number().nullable() }), { user_id: null }],
    ['it is no scalar', z.object({ user_id: z.array(z.number()) }), { user_id: [5] }],
    ['the context would refuse it', z.object({ user_id: z.string() }), { user_id: 'five' }],
    ['the context would make something else of it', z.object({ user_id: z.string() }), { user_id: '05' }],
  ])('the whole context is purged when %s', async (_case, args, given) => {
    const opened = await open((origin) => origin.mutation('rename_user', { args, affects: ['user'], run: () => 1 }))
    expect(await purgedBy(opened, USERS, 'rename_user', given)).toEqual({
      purged: ['five', 'six', 'old'],
      header: 'user',
      invalidate: ['user'],
    })
  })

  test('a value that the schema of the context changes is not taken for the key', async () => {
    const opened = await open((origin) =>
      origin.mutation('tag', { args: z.object({ name: z.string() }), affects: ['tag'], run: () => 1 }),
    )
    const entries: typeof USERS = { lower: ['tag', { name: 'cats' }] }
    expect((await purgedBy(opened, entries, 'tag', { name: 'Cats' })).purged).toEqual(['lower'])
  })

  test('parameters are mapped from other arguments, by name or by a function', async () => {
    const opened = await open((origin) => {
      const args = z.object({ id: z.number() })
      origin.mutation('by_name', { args, affects: [{ context: 'user', params: { user_id: 'id' } }], run: () => 1 })
      origin.mutation('by_function', {
        args,
        affects: [{ context: 'user', params: ({ id }) => ({ user_id: id + 1 }) }],
        run: () => 1,
      })
      origin.mutation('in_part', {
        args,
        affects: [{ context: 'user', params: () => ({ user_id: undefined }) }],
        run: () => 1,
      })
    })
    expect((await purgedBy(opened, USERS, 'by_name', { id: 5 })).purged).toEqual(['five'])
    expect((await purgedBy(opened, USERS, 'by_function', { id: 5 })).purged).toEqual(['six'])
    expect((await purgedBy(opened, USERS, 'in_part', { id: 5 })).purged).toEqual(['five', 'six', 'old'])
  })

  test("user: 'self' purges the entry of who calls", async () => {
    const opened = await open((origin) =>
      origin.mutation('add_item', {
        args: z.object({ shop: z.string() }),
        auth: true,
        affects: [{ context: 'cart', user: 'self' }],
        run: () => 1,
      }),
    )
    expect(await purgedBy(opened, CARTS, 'add_item', { shop: 'a' }, { 'x-user': 'ann' })).toEqual({
      purged: ['ann'],
      header: 'cart;shop=a',
      invalidate: [{ context: 'cart', params: { shop: 'a' } }],
    })
  })

  test('a user who is named by the arguments has the entry purged; one who is not has the context purged', async () => {
    const opened = await open((origin) =>
      origin.mutation('add_for', {
        args: z.object({ shop: z.string(), owner: z.union([z.number(), z.string()]).optional() }),
        affects: [{ context: 'cart', user: ({ owner }) => owner }],
        run: () => 1,
      }),
    )
    expect((await purgedBy(opened, CARTS, 'add_for', { shop: 'a', owner: 5 })).purged).toEqual(['five'])
    for (const args of [{ shop: 'a' }, { shop: 'a', owner: '' }]) {
      expect((await purgedBy(opened, CARTS, 'add_for', args)).purged).toEqual(['ann', 'ann_b', 'bob', 'five'])
    }
  })

  test('the same entry of two users is two purges, and told once', async () => {
    const opened = await open((origin) =>
      origin.mutation('give', {
        args: z.object({ shop: z.string(), to: z.string() }),
        auth: true,
        affects: [
          { context: 'cart', user: 'self' },
          { context: 'cart', user: ({ to }) => to },
        ],
        run: () => 1,
      }),
    )
    expect(await purgedBy(opened, CARTS, 'give', { shop: 'a', to: 'bob' }, { 'x-user': 'ann' })).toEqual({
      purged: ['ann', 'bob'],
      header: 'cart;shop=a',
      invalidate: [{ context: 'cart', params: { shop: 'a' } }],
    })
  })

  test('a user-scoped context without a named user is purged whole, whoever calls', async () => {
    const opened = await open((origin) =>
      origin.mutation('close_shop', {
        args: z.object({ shop: z.string() }),
        auth: true,
        affects: ['cart'],
        run: () => 1,
      }),
    )
    expect(await purgedBy(opened, CARTS, 'close_shop', { shop: 'a' }, { 'x-user': 'ann' })).toEqual({
      purged: ['ann', 'ann_b', 'bob', 'five'],
      header: 'cart',
      invalidate: ['cart'],
    })
  })

  test('several targets of one context: each once, and none beside the whole', async () => {
    const opened = await open((origin) => {
      const args = z.object({ from: z.number(), to: z.number() })
      const of = (user_id: 'from' | 'to') => ({ context: 'user', params: { user_id } })
      origin.mutation('move', { args, affects: [of('from'), of('to')], run: () => 1 })
      origin.mutation('merge', { args, affects: [of('from'), 'user', of('to')], run: () => 1 })
    })
    expect((await purgedBy(opened, USERS, 'move', { from: 5, to: 6 })).header).toBe('user;user_id=5, user;user_id=6')
    expect((await purgedBy(opened, USERS, 'move', { from: 5, to: 5 })).header).toBe('user;user_id=5')
    expect((await purgedBy(opened, USERS, 'merge', { from: 5, to: 6 })).header).toBe('user')
  })

  test('the purge is complete before the response leaves, and comes after the commit', async () => {
    const events: string[] = []
    const cache = openCache()
    const purging = deferred()
    const watched: OriginCache = {
      deriveKey: cache.deriveKey.bind(cache),
      peek: cache.peek.bind(cache),
      lookup: cache.lookup.bind(cache),
      put: cache.put.bind(cache),
      release: cache.release.bind(cache),
      purge: async (...target) => {
        events.push('purge begins')
        await purging.promise
        const count = await cache.purge(...target)
        events.push('purge ends')
        return count
      },
    }
    const { send } = await open(
      (origin) =>
        origin.mutation('publish', {
          affects: ['news'],
          run: async () => {
            await null
            events.push('commit')
          },
        }),
      { cache: watched },
    )
    const responding = send(...call('publish')).then(() => events.push('answer'))
    await vi.waitFor(() => expect(events).toContain('purge begins'))
    purging.resolve()
    await responding
    expect(events).toEqual(['commit', 'purge begins', 'purge ends', 'answer'])
  })

  test('an unexpected failure may have come after the commit: it purges, and tells the edge', async () => {
    const { send, cache } = await open(
      (origin) =>
        origin.mutation('publish', {
          affects: ['news'],
          run: () => Promise.reject(new Error('lost after the commit')),
        }),
      { onError: () => {} },
    )
    await cache.put('news', {}, 'stale')
    const response = await send(...call('publish'))
    expect([response.status, response.headers.get('x-mizan-invalidate')]).toEqual([500, 'news'])
    expect((await cache.lookup('news', {})).value).toBeNull()
  })

  test('a result that is not JSON is a failure after the commit', async () => {
    const { send, cache } = await open((origin) => origin.mutation('publish', { affects: ['news'], run: () => 1n }), {
      onError: () => {},
    })
    await cache.put('news', {}, 'stale')
    const response = await send(...call('publish'))
    expect([response.status, response.headers.get('x-mizan-invalidate')]).toEqual([500, 'news'])
    expect((await cache.lookup('news', {})).value).toBeNull()
  })

  test('a refusal changed nothing and purges nothing', async () => {
    const { send, cache } = await open((origin) =>
      origin.mutation('publish', {
        affects: ['news'],
        run: () => {
          throw new HttpError(409, 'already_published', 'It is out.', { since: 1 })
        },
      }),
    )
    await cache.put('news', {}, 'kept')
    const response = await send(...call('publish'))
    expect(response.json).toEqual({
      error: { code: 'already_published', message: 'It is out.', details: { since: 1 } },
    })
    expect([response.status, response.headers.has('x-mizan-invalidate')]).toEqual([409, false])
    expect((await cache.lookup('news', {})).value).toBe('kept')
  })

  test.each([
    [
      'an integer that is not safe',
      { user_id: 2 ** 53 },
      z.object({ user_id: z.number() }),
      z.object({ user_id: z.coerce.number() }),
    ],
    ['an unpaired surrogate', { name: '\ud800' }, z.object({ name: z.string() }), z.object({ name: z.string() })],
  ])(
    'arguments of which no key can be made are refused before anything is changed: %s',
    async (_case, given, args, params) => {
      const run = vi.fn(() => 1)
      const { send } = await open((origin) => {
        origin.context('thing', { params, functions: { things: () => [] } })
        origin.mutation('change', { args, affects: ['thing'], run })
      })
      const response = await send(...call('change', given))
      expect([response.status, response.json.error.code]).toEqual([422, 'invalid_args'])
      expect(response.json.error.message).toContain(`params.${Object.keys(given)[0]}`)
      expect(run).not.toHaveBeenCalled()
    },
  )

  test('a purge that fails is not hidden', async () => {
    const cache = openCache()
    const onError = vi.fn()
    const { send } = await open(
      (origin) => origin.mutation('publish', { affects: ['news'], run: () => cache.close() }),
      { cache, onError },
    )
    const response = await send(...call('publish'))
    expect([response.status, response.headers.get('x-mizan-invalidate')]).toEqual([500, 'news'])
    expect(onError).toHaveBeenCalledWith(expect.objectContaining({ code: 'ERR_MIZAN_CLOSED' }))
  })

  test('what a mutation does to its arguments does not change what is purged', async () => {
    const opened = await open((origin) =>
      origin.mutation('rename_user', {
        args: z.object({ user_id: z.number() }),
        affects: ['user'],
        run: (args) => {
          args.user_id = 6
        },
      }),
    )
    expect((await purgedBy(opened, USERS, 'rename_user', { user_id: 5 })).purged).toEqual(['five'])
  })

  test('a mutation is told who calls only if it asks for it', async () => {
    const { send } = await open((origin) => {
      origin.mutation('open_one', { run: (_args, context) => Object.keys(context) })
      origin.mutation('closed_one', { auth: true, run: (_args, { identity }) => identity.id })
    })
    const ann = { 'x-user': 'ann' }
    expect((await send(...call('open_one', {}, ann))).json.result).toEqual([])
    expect((await send(...call('closed_one', {}, ann))).json.result).toBe('ann')
    expect((await send(...call('closed_one'))).status).toBe(401)
  })

  test('a private mutation is refused to callers; the server itself runs it, and it invalidates like any other', async () => {
    const run = vi.fn(() => 'done')
    let publish: (() => Promise<unknown>) | undefined
    const { send, cache } = await open((origin) => {
      const caller = origin.mutation('publish', { private: true, affects: ['news'], run })
      publish = () => caller({})
    })
    const response = await send(...call('publish'))
    expect([response.status, response.json.error.code]).toEqual([403, 'private_function'])
    expect(run).not.toHaveBeenCalled()
    await cache.put('news', {}, 'stale')
    expect(await publish?.()).toEqual({ result: 'done', invalidate: [{ context: 'news', params: {} }] })
    expect((await cache.lookup('news', {})).value).toBeNull()
  })

  test('__proto__ in a body pollutes nothing', async () => {
    const { send } = await open((origin) =>
      origin.mutation('merge_all', { args: z.looseObject({}), run: (args) => Object.assign({}, args) }),
    )
    for (const body of [
      '{"fn":"merge_all","args":{"__proto__":{"polluted":true}}}',
      '{"fn":"merge_all","args":{"deep":[{"__proto__":{"polluted":true}}]}}',
      '{"fn":"merge_all","args":{"\\u005f_proto__":{"polluted":true}}}',
    ]) {
      const [path, init] = call('merge_all')
      expect((await send(path, { ...init, body })).status).toBe(400)
    }
    expect((await send(...call('merge_all', { constructor: { prototype: { polluted: true } } }))).status).toBe(200)
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
    expect((await send(...call('merge_all', { text: 'an escaped \u0001 and __proto__ in a value' }))).status).toBe(200)
  })
})

test("the server's own calls are validated, need an identity where it is declared, and tell their failures", async () => {
  const origin = createOrigin({ cache: openCache(), authenticate })
  const rename = origin.mutation('rename', {
    args: z.object({ name: z.string() }),
    auth: true,
    run: ({ name }, { identity }) => {
      if (name === '') throw new Error('no name')
      return `${identity.id}: ${name}`
    },
  })
  const identity = { id: 'ann' }
  expect(await rename({ name: 'x' }, { identity })).toEqual({ result: 'ann: x', invalidate: [] })
  await expect(rename({ name: 1 as never }, { identity })).rejects.toMatchObject({ status: 422 })
  await expect(rename({ name: 'x' }, { identity: { id: '' } })).rejects.toMatchObject({ status: 401 })
  await expect(rename({ name: '' }, { identity })).rejects.toThrow('no name')
})
