/** Attacks on keys: by what a call is made of, to be given an entry that belongs to another call. */

import { describe, expect, test } from 'vitest'
import { type Cache, deriveCacheKey, type Params } from '../../cache/index.ts'
import { deriveCacheKey as deriveAtTheEdge } from '../../edge/index.ts'
import { getOrLoad } from '../../origin/index.ts'
import { BACKENDS, onBackend, openCache, SECRET } from '../origin/support.ts'

type Call = [context: string, params?: unknown, userId?: unknown, rev?: number]

const derive = ([context, params, userId, rev]: Call) =>
  deriveCacheKey(SECRET, context, params as Params, userId as string, rev)
const deriveOutside = ([context, params, userId, rev]: Call) =>
  deriveAtTheEdge(SECRET, context, params as Params, userId as string, rev)

/** An object as JSON makes it, where `__proto__` is a member like any other. */
const parsed = (json: string) => JSON.parse(json)

/** What an attacker tries in each group is to be taken for another of the group. */
const CONFUSIONS: Record<string, Call[]> = {
  'an id, a parameter and a revision': [
    ['user', {}, '5'],
    ['user', {}, null, 5],
    ['user', { u: '5' }],
    ['user', { user: '5' }],
    ['user', { userId: '5' }],
    ['user', { user_id: '5' }],
    ['user', { r: '5' }],
    ['user', { rev: 5 }],
    ['user', { u: '5' }, '5'],
    ['user', { r: '5' }, null, 5],
  ],
  'no user and users who sound like nobody': ['', '0', 'null', 'undefined', 'false', 'NaN', '[object Object]', '{}']
    .map((id): Call => ['user', {}, id])
    .concat([['user', {}]]),
  'the syntax of the canonical form in a value': [
    ['user', { a: 'b', c: 'd' }],
    ['user', { a: 'b","c":"d' }],
    ['user', { a: 'b\\","c":"d' }],
    ['user', { a: 'b\\u0022,\\u0022c\\u0022:\\u0022d' }],
    ['user', { 'a":"b","c': 'd' }],
    ['user', { a: 'b"},"r":0,"u":"ann' }],
    ['user', { a: 'b' }, 'ann'],
    ['user', {}, 'ann","p":{"a":"b"}'],
    ['user', { a: 'b,c' }],
    ['user', { a: 'b', c: '' }],
    ['user', { a: ['b', 'c'] }],
    ['user', { a: ['b,c'] }],
    ['user', { a: '["b","c"]' }],
  ],
  'what is empty': [
    ['user', {}],
    ['user', { a: '' }],
    ['user', { a: [] }],
    ['user', { a: {} }],
    ['user', { a: [''] }],
    ['user', { a: [[]] }],
    ['user', { '': '' }],
    ['user', { a: 'null' }],
  ],
  'a path and a name': [
    ['user', { a: { b: '1' } }],
    ['user', { 'a.b': '1' }],
    ['user', { 'a[b]': '1' }],
    ['user', { a: ['b', '1'] }],
    ['user', { a: [['b', '1']] }],
    ['user', { a: { 0: 'b', 1: '1' } }],
  ],
  'contexts that begin alike': [
    'user',
    'User',
    'users',
    'user.',
    'user.x',
    'user_',
    'user-',
    'user_x',
    'use',
    'user.user',
  ]
    .map((context): Call => [context, {}])
    .concat([['user', { x: '' }]]),
  'members that every object has': [
    ['user', {}],
    ['user', parsed('{"__proto__":"x"}')],
    ['user', parsed('{"__proto__":{}}')],
    ['user', parsed('{"__proto__":{"user_id":"5"}}')],
    ['user', { user_id: '5' }],
    ['user', { constructor: 'x' }],
    ['user', { constructor: { prototype: { user_id: '5' } } }],
    ['user', { toString: 'x' }],
    ['user', { valueOf: 'x' }],
    ['user', { hasOwnProperty: 'x' }],
    ['user', { length: '0' }],
  ],
  'spellings of a number': [
    '5',
    '05',
    '5.0',
    '+5',
    ' 5',
    '5 ',
    '5\n',
    '5\0',
    '5e0',
    '0x5',
    '\uff15',
    '\u0665',
    '5\u200b',
    '5,5',
  ].map((id): Call => ['user', { user_id: id }, id]),
  'texts that look alike': [
    'ann',
    'Ann',
    '\u0430nn',
    '\uff41\uff4e\uff4e',
    'ann ',
    ' ann',
    'ann\u00a0',
    'ann\0',
    'ann\u200b',
    'ann\u200d',
    'ann\ufe0f',
    '\u202eann',
    '\u202aann',
    'ann\n',
    'ann\r',
    'ann\u2028',
    'ann\x7f',
    'ann\ufffd',
  ].map((id): Call => ['user', { name: id }, id]),
  'forms of one letter': [
    'Zo\u00eb',
    'Zoe\u0308',
    'ZO\u00cb',
    '\ufb01',
    'fi',
    '\u00df',
    'ss',
    '\u0130',
    'i\u0307',
    '\u0131',
    '\uac00',
    '\u1100\u1161',
    '\u00c5',
    'A\u030a',
    '\u212b',
  ].map((id): Call => ['user', { name: id }, id]),
}

describe('no two of these calls share an entry, in Node or at the edge', () => {
  test.each(Object.entries(CONFUSIONS))('%s', async (_goal, calls) => {
    const keys = calls.map(derive)
    expect(new Set(keys).size).toBe(calls.length)
    expect(await Promise.all(calls.map(deriveOutside))).toEqual(keys)
  })
})

describe('a purge is not evaded by saying the same in another way', () => {
  test.each<[string, Call, Call]>([
    ['another order', ['user', { a: 1, b: 2 }], ['user', { b: 2, a: 1 }]],
    ['a number as text', ['user', { id: 5 }, 5], ['user', { id: '5' }, '5']],
    ['a bigint', ['user', { id: 5n }, 5n], ['user', { id: 5 }, 5]],
    ['minus zero', ['user', { id: -0 }, -0], ['user', { id: 0 }, 0]],
    ['no prototype', ['user', Object.assign(Object.create(null), { id: 5 })], ['user', { id: 5 }]],
    ['no parameters', ['user'], ['user', {}]],
  ])('%s', async (_goal, one, other) => {
    expect(derive(one)).toBe(derive(other))
    expect(await deriveOutside(one)).toBe(derive(one))
  })
})

describe('a text that is too long is refused, and not cut to that of another', () => {
  const long = 'x'.repeat(1_048_576)
  test.each<[string, Call]>([
    ['a value', ['user', { a: long }]],
    ['a name', ['user', { [long]: 1 }]],
    ['a user', ['user', {}, long]],
    ['a context', [`user${long}`]],
    ['many values', ['user', Object.fromEntries(Array.from({ length: 60_000 }, (_, id) => [`name_${id}`, 'value']))]],
  ])('%s', async (_name, call) => {
    const code = expect.stringMatching(/^ERR_MIZAN_(SIZE|CONTEXT)$/)
    expect(() => derive(call)).toThrow(expect.objectContaining({ code }))
    await expect(deriveOutside(call)).rejects.toMatchObject({ code })
  })
})

describe('an array that would be text to somebody else is never that text', () => {
  const hostile: [string, () => object][] = [
    ['toJSON', () => Object.assign(['a'], { toJSON: () => 'victim' })],
    ['Symbol.toPrimitive', () => Object.assign(['a'], { [Symbol.toPrimitive]: () => 'victim' })],
    ['toString', () => Object.assign(['a'], { toString: () => 'victim' })],
    ['an iterator of its own', () => Object.assign(['a'], { [Symbol.iterator]: () => ['victim'][Symbol.iterator]() })],
    ['a class', () => new (class extends Array<string> {})('victim')],
    ['a proxy', () => new Proxy(['a'], { get: (array, name) => (name === '0' ? 'victim' : Reflect.get(array, name)) })],
  ]
  test.each(hostile)('%s', async (_name, make) => {
    expect(() => derive(['user', { id: make() }])).toThrow(expect.objectContaining({ code: 'ERR_MIZAN_PARAM_TYPE' }))
  })
})

describe.each(BACKENDS)('what changes between two looks, on %s', (backend) => {
  const open = onBackend(backend)
  const entriesOf = async (cache: Cache, ids: string[]) => {
    const found = await Promise.all(ids.map((id) => cache.get('user', { id, name: 'é' })))
    return ids.filter((_, index) => found[index] !== null)
  }

  /** Says `attacker` when it is looked at first, and `victim` from then on; the é takes it past the fast path. */
  function turncoat() {
    let looks = 0
    return {
      get id() {
        looks += 1
        return looks === 1 ? 'attacker' : 'victim'
      },
      name: 'é',
    }
  }

  test('a value that changes is stored once, purged as it was stored, and never under two names', async () => {
    const cache = open()
    await cache.put('user', turncoat(), 'x')
    const stored = await entriesOf(cache, ['attacker', 'victim'])
    expect(stored).toHaveLength(1)
    expect(await cache.purge('user', turncoat())).toBe(1)
    expect(await entriesOf(cache, ['attacker', 'victim'])).toEqual([])
  })

  test('parameters that are changed during a call do not move it to another entry', async () => {
    const cache = open()
    const params = { id: 'attacker', name: 'é' }
    const storing = cache.put('user', params, 'x')
    params.id = 'victim'
    await storing
    expect(await entriesOf(cache, ['attacker', 'victim'])).toEqual(['attacker'])
    params.id = 'attacker'
    const purging = cache.purge('user', params)
    params.id = 'victim'
    expect(await purging).toBe(1)
  })

  test('bytes that are changed after they were given are not what is served', async () => {
    const cache = open()
    const bytes = new TextEncoder().encode('mine')
    const storing = cache.put('user', {}, bytes)
    bytes.set(new TextEncoder().encode('evil'))
    await storing
    expect(await cache.get('user', {})).toBe('mine')
  })

  // Fails if a store does not ask for the lease of the very entry that it stores to.
  test('a load that changes its parameters does not store its value as that of another', async () => {
    const cache = open()
    const params = { id: 'attacker', name: 'é' }
    const given = await getOrLoad(cache, 'user', params, {}, () => {
      params.id = 'victim'
      return 'of the attacker'
    })
    expect(given).toBe('of the attacker')
    expect(await getOrLoad(cache, 'user', { id: 'victim', name: 'é' }, {}, () => 'of the victim')).toBe('of the victim')
  })
})

test('a member that removes or adds others while it is read makes one reading, and no mixture', () => {
  const cache = openCache()
  const make = () => {
    const params: Record<string, unknown> = {
      get a() {
        params.b = 'after'
        params.c = 'added'
        return 1
      },
      b: 'before',
    }
    return params as Params
  }
  const possible = ['before', 'after'].flatMap((b) => [
    cache.deriveKey('user', { a: 1, b }),
    cache.deriveKey('user', { a: 1, b, c: 'added' }),
  ])
  expect(possible).toContain(cache.deriveKey('user', make()))
})

test('a context is no pattern: neither * nor ? nor a prefix reaches the entries of another', async () => {
  const cache = openCache()
  const victims = ['user', 'user.x', 'users', 'user_x']
  for (const context of victims) await cache.put(context, {}, 'kept')
  for (const pattern of ['*', 'user*', 'user?', 'us[e]r', 'user:', 'user\n', 'user\0', 'ctx:user', '', '.', '{user}']) {
    expect(() => cache.purge(pattern)).toThrow(expect.objectContaining({ code: 'ERR_MIZAN_CONTEXT' }))
  }
  expect(await cache.purge('use')).toBe(0)
  expect(await cache.purge('user')).toBe(1)
  for (const context of victims.slice(1)) expect(await cache.get(context, {})).toBe('kept')
})
