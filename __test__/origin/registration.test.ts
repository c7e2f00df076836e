import { type } from 'arktype'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import * as zm from 'zod/mini'
import { createOrigin, type Identity, type ObjectSchema, type Origin } from '../../origin/index.ts'
import { authenticate, openCache, receive } from './support.ts'

function open(): Origin<Identity> {
  const origin = createOrigin({ cache: openCache(), authenticate })
  origin.context('user', { params: z.object({ user_id: z.coerce.number() }), functions: { user_profile: () => 1 } })
  origin.context('cart', { auth: true, functions: { cart_items: () => [] } })
  return origin
}

/** Definitions as JavaScript may write them. */
const any = (definition: object) => definition as never

describe('what is wrong with a definition is refused when it is registered', () => {
  const one = { one: () => 1 }
  test.each<[string, (origin: Origin<Identity>) => void, RegExp]>([
    ['a context in camelCase', (o) => o.context('userOrders', { functions: one }), /snake_case/],
    ['a context with a hyphen', (o) => o.context('user-orders', { functions: one }), /snake_case/],
    ['a context that starts with a digit', (o) => o.context('1user', { functions: one }), /snake_case/],
    ['a context of 129 letters', (o) => o.context('x'.repeat(129), { functions: one }), /snake_case/],
    ['a function in camelCase', (o) => o.context('a', { functions: { getOne: () => 1 } }), /"getOne".*snake_case/],
    [
      'a parameter in camelCase',
      (o) => o.context('a', { params: z.object({ userId: z.string() }), functions: one }),
      /"userId"/,
    ],
    [
      'an argument in camelCase',
      (o) => o.mutation('a', { args: z.object({ userId: z.string() }), run: () => 1 }),
      /"userId"/,
    ],
    ['a mutation in camelCase', (o) => o.mutation('renameUser', { run: () => 1 }), /"renameUser"/],
    ['a context twice', (o) => o.context('user', { functions: one }), /already/],
    ['a function twice', (o) => o.context('a', { functions: { user_profile: () => 1 } }), /already/],
    ['a function named like another context', (o) => o.context('a', { functions: { user: () => 1 } }), /already/],
    ['a context named like a function of another', (o) => o.context('user_profile', { functions: one }), /already/],
    ['a mutation twice', (o) => [1, 2].map(() => o.mutation('a', { run: () => 1 })), /already/],
    ['a context without functions', (o) => o.context('a', { functions: {} }), /no functions/],
    ['a function that is none', (o) => o.context('a', { functions: any({ one: { run: 1 } }) }), /not a function/],
    ['a mutation that is none', (o) => o.mutation('a', any({ run: 1 })), /not a function/],
    ['a misspelt member of a context', (o) => o.context('a', any({ Auth: true, functions: one })), /"Auth"/],
    ['auth that is neither true nor false', (o) => o.context('a', any({ auth: 'no', functions: one })), /auth/],
    [
      'a misspelt member of a function',
      (o) => o.context('a', any({ functions: { one: { run: () => 1, TTL: 1 } } })),
      /"TTL"/,
    ],
    ['a rev below 0', (o) => o.context('a', { functions: { one: { run: () => 1, rev: -1 } } }), /rev/],
    ['a rev that is no integer', (o) => o.context('a', { functions: { one: { run: () => 1, rev: 1.5 } } }), /rev/],
    ['a ttl of 0', (o) => o.context('a', { functions: { one: { run: () => 1, ttl: 0 } } }), /ttl/],
    [
      'a ttl that is no number',
      (o) => o.context('a', { functions: { one: { run: () => 1, ttl: Number.NaN } } }),
      /ttl/,
    ],
    [
      'a ttl of more than ten years',
      (o) => o.context('a', { functions: { one: { run: () => 1, ttl: 315_360_001 } } }),
      /ttl/,
    ],
    ['a misspelt member of a mutation', (o) => o.mutation('a', any({ affect: ['user'], run: () => 1 })), /"affect"/],
    ['an effect on nothing', (o) => o.mutation('a', { affects: ['users'], run: () => 1 }), /"users"/],
    [
      'a misspelt member of an effect',
      (o) => o.mutation('a', { affects: [any({ context: 'user', param: {} })], run: () => 1 }),
      /"param"/,
    ],
    [
      'a mapping of no parameter',
      (o) => o.mutation('a', { affects: [any({ context: 'user', params: { id: 'x' } })], run: () => 1 }),
      /"id"/,
    ],
    [
      'a user of a public context',
      (o) => o.mutation('a', { auth: true, affects: [{ context: 'user', user: 'self' }], run: () => 1 }),
      /no users/,
    ],
    [
      "user: 'self' without auth",
      (o) => o.mutation('a', { affects: [any({ context: 'cart', user: 'self' })], run: () => 1 }),
      /auth/,
    ],
    ['a schema that does not tell its members', (o) => o.context('a', { params: untold, functions: one }), /members/],
  ])('%s', (_case, register, message) => {
    expect(() => register(open())).toThrow(message)
  })

  const untold: ObjectSchema = { '~standard': { version: 1, vendor: 'own', validate: () => ({ value: {} }) } }

  test('a refused context leaves nothing behind', () => {
    const origin = open()
    expect(() => origin.context('a', { functions: { fresh: () => 1, user_profile: () => 1 } })).toThrow()
    origin.context('a', { functions: { fresh: () => 1 } })
    expect(Object.keys(origin.manifest().contexts)).toContain('a')
  })

  test('a function may have the name of its own context', () => {
    const origin = open()
    origin.context('news', { functions: { news: () => 1 } })
    origin.mutation('publish', { affects: ['news'], run: () => 1 })
    expect(origin.manifest().mutations.publish?.affects).toEqual(['news'])
  })

  test('auth needs a way to find out who asks', () => {
    const origin = createOrigin({ cache: openCache() })
    expect(() => origin.context('cart', { auth: true, functions: one })).toThrow(/authenticate/)
    expect(() => origin.mutation('buy', { auth: true, run: () => 1 })).toThrow(/authenticate/)
  })
})

test.each([
  [{ cache: undefined }, /cache/],
  [{ cash: 1 }, /options\.cash/],
  [{ basePath: 'api' }, /basePath/],
  [{ basePath: '/api/' }, /basePath/],
  [{ limits: { bodyByte: 1 } }, /options\.limits\.bodyByte/],
  [{ limits: { waitMs: -1 } }, /limits\.waitMs/],
  [{ limits: { loadMs: 2 ** 31 } }, /limits\.loadMs/],
])('options %j are refused', (options, message) => {
  expect(() => createOrigin({ cache: openCache(), ...options } as never)).toThrow(message)
})

test.each<[string, ObjectSchema]>([
  ['zod', z.object({ b_c: z.string(), a: z.string() })],
  ['zod, refined', z.object({ b_c: z.string(), a: z.string() }).refine(() => true)],
  ['zod, transformed', z.object({ b_c: z.string(), a: z.string() }).transform((value) => value)],
  ['zod mini', zm.object({ b_c: zm.string(), a: zm.string() })],
  ['valibot', v.object({ b_c: v.string(), a: v.string() })],
  [
    'valibot, piped',
    v.pipe(
      v.object({ b_c: v.string(), a: v.string() }),
      v.check(() => true),
    ),
  ],
  ['arktype', type({ b_c: 'string', 'a?': 'string' })],
])('the parameters that a schema of %s declares are known, and it is obeyed', async (_vendor, params) => {
  const origin = createOrigin({ cache: openCache() })
  origin.context('a', { params, functions: { one: (given) => given } })
  expect(origin.manifest().contexts.a?.params).toEqual(['a', 'b_c'])
  const send = (query: string) => receive(origin.fetch(new Request(`http://origin.test/api/mizan/ctx/a/${query}`)))
  expect((await send('?a=1&b_c=2&d=3')).json).toEqual({ one: { a: '1', b_c: '2' } })
  expect((await send('?a=1')).status).toBe(422)
})

test('a base path of its own, or none', async () => {
  for (const basePath of ['', '/v2/cache']) {
    const origin = createOrigin({ cache: openCache(), basePath })
    origin.context('a', { functions: { one: () => 1 } })
    const [endpoint = ''] = origin.manifest().contexts.a?.endpoints ?? []
    expect(endpoint).toBe(`${basePath}/ctx/a/`)
    expect((await receive(origin.fetch(new Request(`http://origin.test${endpoint}`)))).status).toBe(200)
  }
})

test('the manifest tells the edge what is served, in an order that does not depend on registration', () => {
  const origin = open()
  origin.context('clock', { functions: { now: { run: () => 1, cache: false, ttl: 5 } } })
  origin.context('article', { functions: { text: { run: () => 1, rev: 2, ttl: 60 }, title: () => 1 } })
  origin.mutation('rename', { affects: ['user', 'cart_items', 'cart'], run: () => 1 })
  origin.mutation('expire', { private: true, run: () => 1 })
  expect(JSON.stringify(origin.manifest())).toBe(
    JSON.stringify({
      version: 1,
      namesEntries: true,
      call: '/api/mizan/call/',
      contexts: {
        article: { endpoints: ['/api/mizan/ctx/article/'], params: [], rev: 2, ttl: 60, scope: 'public' },
        cart: { endpoints: ['/api/mizan/ctx/cart/'], params: [], rev: 0, ttl: 86_400, scope: 'user' },
        clock: { endpoints: ['/api/mizan/ctx/clock/'], params: [], rev: 0, ttl: 0, scope: 'public' },
        user: { endpoints: ['/api/mizan/ctx/user/'], params: ['user_id'], rev: 0, ttl: 86_400, scope: 'public' },
      },
      mutations: { expire: { affects: [], private: true }, rename: { affects: ['cart', 'user'], private: false } },
    }),
  )
})
