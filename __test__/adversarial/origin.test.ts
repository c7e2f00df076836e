/** Attacks on an origin over HTTP: by a request, to be given or to spoil what belongs to another request. */

import { connect } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { createOrigin, type Identity, identityFromEdge, type Origin } from '../../origin/index.ts'
import {
  authenticate,
  call,
  listen,
  openCache,
  type Received,
  SECRET,
  type Send,
  TRANSPORTS,
} from '../origin/support.ts'

/** Names of users, in an order in which look-alikes stand beside each other. */
const LOOK_ALIKES = [
  'ann',
  'Ann',
  'ann ',
  'ann\u200b',
  '\u0430nn',
  '\uff41nn',
  'Zo\u00eb',
  'Zoe\u0308',
  '0',
  '00',
  '5',
  '05',
  '\uff15',
  'null',
  'undefined',
  '__proto__',
  'constructor',
  'ann;role=admin',
  'ann,bob',
  'ann\r\nX-User: bob',
  'ann","u":"bob',
]

describe.each(['fetch', 'node'] as const)('through %s', (transport) => {
  async function open(define: (origin: Origin<Identity>) => void, options: object = {}): Promise<Send> {
    const origin = createOrigin<Identity>({
      cache: openCache(),
      authenticate: (request) => {
        const identity = authenticate(request)
        return identity && { id: decodeURIComponent(String(identity.id)) }
      },
      onError: () => {},
      ...options,
    })
    define(origin)
    return TRANSPORTS[transport](origin)
  }

  const USER = { params: z.object({ user_id: z.coerce.number().int() }) }

  /** A context whose answer names the call that it belongs to. */
  const openUsers = () =>
    open((origin) => origin.context('user', { ...USER, functions: { profile: ({ user_id }) => `of ${user_id}` } }))

  /** Asks until the answer comes from the cache: then it is what everybody gets. */
  async function stored(send: Send, path: string, init?: RequestInit): Promise<Received> {
    return vi.waitFor(async () => {
      const response = await send(path, init)
      expect(response.headers.get('cache-status')).toBe('mizan; hit')
      return response
    })
  }

  // To have the data of one user stored where another's is looked for.
  test.each([
    'user_id=5&user_id=6',
    'user_id=6&user_id=5',
    'user_id=5&user%5Fid=6',
    'user_id[]=6&user_id=5',
    'user_id=5;user_id=6',
    'user_id=5%26user_id=6',
    'user_id=5%00',
    'user_id=5%0d%0a6',
    'user_id=5&USER_ID=6',
    'user_id=5&user_id%00=6',
    'user_id=5&%EF%BD%95ser_id=6',
    'user_id=5&__proto__[user_id]=6&__proto__=6',
    'user_id=5&constructor[prototype][user_id]=6',
    'user_id=5&_mizan_key=ctx:user:6',
    '?user_id=6&user_id=5',
    'user_id=5#&user_id=6',
    'user_id=5e0',
    'user_id=0x5',
    'user_id=%2B5',
    'user_id=5.0000000000000001',
  ])('?%s shows and stores what belongs to one call only', async (query) => {
    const send = await openUsers()
    const attack = await send(`/api/mizan/ctx/user/?${query}`)
    if (attack.status === 200) expect(attack.json).toEqual({ profile: 'of 5' })
    else expect(attack.status).toBeOneOf([400, 422])
    for (const id of [5, 6]) {
      expect((await send(`/api/mizan/ctx/user/?user_id=${id}`)).json).toEqual({ profile: `of ${id}` })
      expect((await stored(send, `/api/mizan/ctx/user/?user_id=${id}`)).json).toEqual({ profile: `of ${id}` })
    }
  })

  // To be taken for another by a name that looks the same, or that means something to whoever reads it.
  test('users with names alike have entries of their own', async () => {
    const send = await open((origin) =>
      origin.context('cart', { auth: true, functions: { items: (_params, { identity }) => identity.id } }),
    )
    for (const ask of [send, stored.bind(null, send)]) {
      for (const user of LOOK_ALIKES) {
        const response = await ask('/api/mizan/ctx/cart/', { headers: { 'x-user': encodeURIComponent(user) } })
        expect(response.json).toEqual({ items: user })
      }
    }
  })

  // To be somebody whom the Worker has established, or to speak in its or the origin's name.
  test('headers of the protocol mean nothing when a client sends them', async () => {
    const cache = openCache()
    const send = await open(
      (origin) => {
        origin.context('news', { functions: { headlines: () => 'news' } })
        origin.context('notes', { auth: true, functions: { own: (_params, { identity }) => identity.id } })
        origin.mutation('post', { run: () => 'posted' })
      },
      { cache, authenticate: identityFromEdge({ secret: SECRET }) },
    )
    await send('/api/mizan/ctx/news/')
    await stored(send, '/api/mizan/ctx/news/')
    const headers = {
      'x-mizan-identity': `${Math.floor(Date.now() / 1000)}.${'0'.repeat(64)}.ann`,
      'x-mizan-invalidate': 'news, notes',
      'x-mizan-entry': 'notes',
      'x-mizan-purge': 'done',
      'cache-status': 'mizan; hit; key=victim',
      'cache-control': 'no-cache, only-if-cached, max-age=0',
      pragma: 'no-cache',
      'x-http-method-override': 'DELETE',
      'x-original-url': '/api/mizan/ctx/notes/',
      'x-rewrite-url': '/api/mizan/ctx/notes/',
      'x-forwarded-prefix': '/api/mizan/ctx/notes',
      'x-user': 'ann',
    }
    const read = await send('/api/mizan/ctx/news/', { headers })
    expect([read.status, read.text]).toEqual([200, '{"headlines":"news"}'])
    expect(read.headers.get('cache-status')).toBe('mizan; hit')
    const called = await send(...call('post', {}, headers))
    expect([called.status, called.text]).toEqual([200, '{"result":"posted"}'])
    for (const { headers: answered } of [read, called]) {
      expect([...answered.keys()].filter((name) => name.startsWith('x-mizan'))).toEqual([])
    }
    expect((await send('/api/mizan/ctx/notes/', { headers })).status).toBe(401)
    expect(cache.stats().purges).toBe(0)
    await stored(send, '/api/mizan/ctx/news/')
  })

  // To have an empty, partial or unchanged answer stored for everybody.
  test.each<[string, RequestInit]>([
    ['HEAD', { method: 'HEAD' }],
    ['a range', { headers: { range: 'bytes=0-3' } }],
    ['a condition that holds', { headers: { 'if-none-match': '*', 'if-modified-since': new Date().toUTCString() } }],
    ['a condition that fails', { headers: { 'if-match': '"none"', 'if-unmodified-since': new Date(0).toUTCString() } }],
    ['an encoding', { headers: { 'accept-encoding': 'gzip', te: 'trailers' } }],
    ['another type', { headers: { accept: 'text/html' } }],
  ])('%s neither stores nor gets anything but the whole', async (_name, init) => {
    const send = await openUsers()
    const whole = '{"profile":"of 5"}'
    for (let round = 1; round <= 2; round++) {
      const attack = await send('/api/mizan/ctx/user/?user_id=5', init)
      expect([attack.status, attack.text]).toEqual([200, init.method === 'HEAD' ? '' : whole])
    }
    expect((await stored(send, '/api/mizan/ctx/user/?user_id=5')).text).toBe(whole)
  })

  // To reach what every object has, by a name that somebody was free to choose.
  test('contexts, functions, parameters and arguments may be called as members of every object', async () => {
    const params = z.object({ constructor: z.string().optional(), id: z.coerce.number().optional() })
    const send = await open((origin) => {
      origin.context('constructor', { params, functions: { constructor: (given: object) => ({ ...given }) } })
      origin.mutation('constructor', { args: params, affects: ['constructor'], run: (given) => ({ ...given }) })
    })
    const read = async (query: string) => (await stored(send, `/api/mizan/ctx/constructor/${query}`)).text
    const fill = async () => {
      for (const query of ['', '?constructor=x', '?constructor=&id=1'])
        await send(`/api/mizan/ctx/constructor/${query}`)
    }
    await fill()
    expect(await read('')).toBe('{"constructor":{}}')
    expect(await read('?constructor=x')).toBe('{"constructor":{"constructor":"x"}}')
    expect(await read('?id=1&constructor')).toBe('{"constructor":{"constructor":"","id":1}}')
    const partial = await send(...call('constructor', {}))
    expect(partial.headers.get('x-mizan-invalidate')).toBe('constructor')
    const exact = await send(...call('constructor', { constructor: 'x', id: 1 }))
    expect(exact.headers.get('x-mizan-invalidate')).toBe('constructor;constructor=x;id=1')
    for (const name of ['toString', '__proto__', 'hasOwnProperty', 'valueOf']) {
      expect((await send(`/api/mizan/ctx/${name}/`)).status).toBe(404)
      expect((await send(...call(name))).status).toBe(404)
      const register = (origin: Origin<Identity>) => origin.context(name, { functions: { a: () => 1 } })
      await expect(open(register)).rejects.toThrow(/snake_case/)
    }
  })

  // To change an entry and leave what others read as it was, by a spelling whose purge misses it.
  test.each<unknown>([
    5,
    '5',
    '05',
    ' 5',
    '5 ',
    '5.0',
    '5e0',
    '+5',
    '0x5',
    '5\n',
    '\uff15',
    '5\u200b',
    5.000000000000001,
  ])('a mutation of user %j leaves nothing stale that it changed', async (spelling) => {
    const names = new Map([[5, 'before']])
    const send = await open((origin) => {
      origin.context('user', { ...USER, functions: { profile: ({ user_id }) => names.get(user_id) } })
      origin.mutation('rename', {
        args: z.object({ user_id: z.union([z.string(), z.number()]) }),
        affects: ['user'],
        run: ({ user_id }) => void names.set(Number(user_id), 'after'),
      })
    })
    await send('/api/mizan/ctx/user/?user_id=5')
    await stored(send, '/api/mizan/ctx/user/?user_id=5')
    await send(...call('rename', { user_id: spelling }))
    expect((await send('/api/mizan/ctx/user/?user_id=5')).json).toEqual({ profile: names.get(5) })
  })

  test.each([
    ['Zoe\u0308', 'Zo\u00eb'],
    ['\u212bngstr\u00f6m', '\u00c5ngstro\u0308m'],
  ])('a mutation of %j purges %j, which the schema of the context makes of it', async (given, normalised) => {
    let votes = 0
    const send = await open((origin) => {
      const params = z.object({ label: z.string().normalize('NFC') })
      origin.context('votes', { params, functions: { count: () => votes } })
      origin.mutation('vote', {
        args: z.object({ label: z.string() }),
        affects: ['votes'],
        run: () => {
          votes += 1
        },
      })
    })
    const path = `/api/mizan/ctx/votes/?label=${encodeURIComponent(normalised)}`
    await send(path)
    await stored(send, path)
    await send(...call('vote', { label: given }))
    expect((await send(path)).json).toEqual({ count: 1 })
  })

  // To end the process, or to keep it from answering others.
  test.each([
    ['arrays', '['.repeat(100_000) + ']'.repeat(100_000)],
    ['objects', `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
    ['objects, with __proto__ at the end', `${'{"a":'.repeat(100_000)}{"__proto__":1}${'}'.repeat(100_000)}`],
  ])('a body of 100,000 nested %s fails alone', async (_name, nested) => {
    const send = await open((origin) => {
      origin.context('news', { functions: { headlines: () => 'news' } })
      origin.mutation('echo', { args: z.looseObject({}), run: (args) => args })
    })
    const [path, init] = call('echo')
    const attack = await send(path, { ...init, body: `{"fn":"echo","args":{"a":${nested}}}` })
    expect(attack.status).toBeOneOf([400, 500])
    expect((await send('/api/mizan/ctx/news/')).text).toBe('{"headlines":"news"}')
  })
})

// To have a long text cut into that of another, or to fill the cache with it.
test('a parameter of a megabyte is answered and not stored', async () => {
  const cache = openCache()
  const origin = createOrigin({ cache })
  const params = z.object({ q: z.string() })
  origin.context('search', { params, functions: { length: ({ q }) => q.length } })
  const send = await TRANSPORTS.fetch(origin)
  for (let round = 1; round <= 2; round++) {
    const attack = await send(`/api/mizan/ctx/search/?q=${'x'.repeat(2 ** 20)}`)
    expect([attack.status, attack.json]).toEqual([200, { length: 2 ** 20 }])
    expect(attack.headers.get('cache-status')).toBe('mizan; fwd=bypass')
  }
  expect(cache.stats().entries).toBe(0)
})

describe('bytes that no fetch would send', () => {
  const HEAD = 'GET /api/mizan/ctx/notes/ HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n'

  async function openNotes(): Promise<(bytes: string) => Promise<string>> {
    const origin = createOrigin({ cache: openCache(), authenticate })
    origin.context('notes', { auth: true, functions: { own: (_params, { identity }) => identity.id } })
    origin.context('news', { functions: { headlines: () => 'news' } })
    const { port } = new URL(await listen(origin.node))
    return (bytes) =>
      new Promise((resolve, reject) => {
        let received = ''
        const socket = connect(Number(port), '127.0.0.1', () => socket.end(bytes, 'latin1'))
        socket.on('data', (chunk) => {
          received += chunk
        })
        socket.on('error', reject).on('close', () => resolve(received))
      })
  }

  // To have one header checked and the other one used.
  test('an identity that is given twice is neither of the two', async () => {
    const send = await openNotes()
    expect(await send(`${HEAD}X-User: ann\r\n\r\n`)).toContain('{"own":"ann"}')
    const twice = await send(`${HEAD}X-User: bob\r\nx-user: ann\r\n\r\n`)
    expect(twice).not.toContain('{"own":"ann"}')
    expect(twice).not.toContain('{"own":"bob"}')
  })

  // To be routed by one address and answered for another.
  test.each([
    'http://origin/api/mizan/ctx/notes/',
    '//api/mizan/ctx/notes/',
    '/api/mizan/ctx/news/../notes/',
    '/api/mizan/ctx/news/%2e%2e/notes/',
    '/api/mizan/ctx/news;/',
    '/api/mizan/ctx/news\\..\\notes/',
    '/API/mizan/ctx/news/',
    '/api/mizan/ctx/news/#/',
    '/api/mizan/ctx/news/.css',
    '/api/mizan/ctx/news%00/',
  ])('%s is no address', async (target) => {
    const send = await openNotes()
    const answer = await send(`GET ${target} HTTP/1.1\r\nHost: origin\r\nX-User: ann\r\nConnection: close\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 40[04] /)
    expect(answer).not.toMatch(/"own"|"headlines"/)
  })

  // To have the second request answered with what belongs to the first, or the other way round.
  test('requests in one packet are answered each with its own', async () => {
    const send = await openNotes()
    const requests = ['ann', 'bob', 'ann', 'eve'].map(
      (user) => `${HEAD.replace('close', 'keep-alive')}X-User: ${user}\r\n\r\n`,
    )
    const answer = await send(`${requests.join('')}${HEAD}X-User: last\r\n\r\n`)
    expect([...answer.matchAll(/"own":"(\w+)"/g)].map(([, user]) => user)).toEqual(['ann', 'bob', 'ann', 'eve', 'last'])
  })
})
