import { request as httpRequest } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { identityFromEdge } from '../../origin/index.ts'
import { bearer, type Edge, SECRET, signIn, startEdge } from './support/edge.ts'
import { MANIFEST } from './support/manifest.ts'

const identify = identityFromEdge({ secret: SECRET })

let answer: (request: Request) => Response | Promise<Response>
let edge: Edge
let ann: string

const json = (body: unknown, init?: ResponseInit) => Response.json(body, init)
const asked = () => edge.cdn.fetched.at(-1)

beforeAll(async () => {
  edge = await startEdge({ manifest: MANIFEST, origin: async (request) => answer(request) })
  ann = await signIn('ann')
})

afterAll(() => edge?.stop())

beforeEach(() => {
  answer = () => json({ fresh: edge.cdn.fetched.length })
  edge.cdn.entries.clear()
  edge.cdn.fetched.length = 0
  edge.cdn.purgeCalls.length = 0
})

describe('what is cached', () => {
  test('is asked for with the settings of the protocol', async () => {
    await edge.fetch('/api/mizan/ctx/user/?user_id=5')
    const { cf, url } = asked() ?? {}
    expect(cf).toMatchObject({
      cacheEverything: true,
      cacheTtlByStatus: { '200-299': 3600, '300-599': -1 },
      cacheKey: url?.href,
      cacheTags: ['ctx:user', url?.searchParams.get('_mizan_key')],
    })
    expect(url?.searchParams.get('_mizan_key')).toMatch(/^ctx:user:[0-9a-f]{64}$/)
  })

  test('expires', async () => {
    const first = await edge.fetch('/api/mizan/ctx/board/')
    edge.cdn.advance(59)
    expect((await edge.fetch('/api/mizan/ctx/board/')).text).toBe(first.text)
    edge.cdn.advance(2)
    expect((await edge.fetch('/api/mizan/ctx/board/')).text).not.toBe(first.text)
  })

  test('is asked for in the same words whoever asks', async () => {
    answer = (request) => json([...request.headers])
    const headers = {
      Cookie: 'session=ann',
      'Accept-Language': 'de',
      Range: 'bytes=0-1',
      'If-None-Match': '"x"',
      'X-Mizan-Identity': '1.2.ann',
      'X-Forwarded-Host': 'attacker.example',
      ...bearer(ann),
    }
    const { text, status } = await edge.fetch('/api/mizan/ctx/board/', { headers })
    expect(status).toBe(200)
    const names = JSON.parse(text).map(([name]: [string]) => name)
    expect(names.filter((name: string) => !name.startsWith('cf-'))).toEqual(['accept'])
  })

  test('a HEAD fills and reads the same entry', async () => {
    const head = await edge.fetch('/api/mizan/ctx/board/', { method: 'HEAD' })
    expect([head.status, head.text, asked()?.method]).toEqual([200, '', 'GET'])
    expect(head.headers.get('Cache-Status')).toBe('mizan-edge; fwd=miss')
    expect((await edge.fetch('/api/mizan/ctx/board/')).headers.get('Cache-Status')).toBe('mizan-edge; hit')
  })

  test('has no header of the one who caused it', async () => {
    answer = () =>
      json(1, {
        headers: {
          'Set-Cookie': 'session=ann',
          'Keep-Alive': 'timeout=5',
          'Cache-Tag': 'ctx:board',
          'X-Mizan-Entry': 'board',
          'X-User': 'ann',
          'Access-Control-Allow-Origin': 'https://ann.example',
          'Cache-Control': 'public, max-age=3600',
        },
      })
    for (const status of ['mizan-edge; fwd=miss', 'mizan-edge; hit']) {
      const { headers } = await edge.fetch('/api/mizan/ctx/board/')
      expect(headers.get('Cache-Status')).toBe(status)
      const names = [...headers.keys()].filter((name) => !/^(transfer-encoding|content-length|mf-.*)$/.test(name))
      expect(names.sort()).toEqual(['cache-control', 'cache-status', 'content-type'])
    }
  })

  test('arrives whole when the origin compresses', async () => {
    // Miniflare encodes what says so, and workerd gets it encoded.
    answer = () => new Response('{"a":1}', { headers: { 'Content-Encoding': 'gzip' } })
    expect((await edge.fetch('/api/mizan/ctx/board/', { headers: { 'Accept-Encoding': 'identity' } })).text).toBe(
      '{"a":1}',
    )
  })
})

describe('what is not cached', () => {
  test.each([
    ['an error', 500],
    ['a refusal', 422],
    ['a redirect', 302],
  ])('%s of the origin', async (_name, status) => {
    answer = () => json({ error: status }, { status, headers: { Location: '/elsewhere', 'Retry-After': '7' } })
    for (let round = 1; round <= 2; round++) {
      const received = await edge.fetch('/api/mizan/ctx/board/')
      expect(received.status).toBe(status)
      expect(received.headers.get('Location')).toBe('/elsewhere')
      expect(edge.cdn.fetched).toHaveLength(round)
    }
    expect(edge.cdn.entries.size).toBe(0)
  })

  test.each([
    ['a context that the manifest does not cache', '/api/mizan/ctx/live/'],
    ['a context that the manifest does not declare', '/api/mizan/ctx/unknown/'],
    ['a declared context under another spelling of its path', '/api/mizan/ctx/us%65r/?user_id=5'],
    ['a parameter given twice', '/api/mizan/ctx/user/?user_id=5&user_id=6'],
    ['a query that is not percent-encoded UTF-8', '/api/mizan/ctx/user/?user_id=%ff'],
    [
      'a call that has no key',
      `/api/mizan/ctx/user/?user_id=${'x'.repeat(3000)}${'%00'.repeat(3000)}`.slice(0, 12_000),
    ],
  ])('%s', async (name, path) => {
    const passed = name !== 'a call that has no key'
    await edge.fetch(path)
    if (!passed) return
    expect(asked()?.url.pathname + (asked()?.url.search ?? '')).toBe(path)
    expect(asked()?.cf.cacheEverything).toBeUndefined()
    expect(edge.cdn.entries.size).toBe(0)
  })

  test('other methods on a context, which the origin refuses', async () => {
    answer = () => json(null, { status: 405, headers: { Allow: 'GET' } })
    const { status, headers } = await edge.fetch('/api/mizan/ctx/board/', { method: 'DELETE' })
    expect([status, headers.get('Allow'), asked()?.method]).toEqual([405, 'GET', 'DELETE'])
  })
})

describe('what is passed through', () => {
  test('is passed on unchanged, and so is its answer', async () => {
    answer = async (request) =>
      new Response(await request.text(), {
        status: 201,
        headers: { 'Set-Cookie': 'a=1', ETag: '"x"', 'Cache-Control': 'public, max-age=60' },
      })
    const path = '/account?page=2&page=3'
    const init = { method: 'PUT', headers: { Cookie: 'a=0', 'X-Own': 'own' }, body: 'x'.repeat(100_000) }
    const received = await edge.fetch(path, init)
    expect(received.status).toBe(201)
    expect(received.text).toBe(init.body)
    expect(received.headers.get('Set-Cookie')).toBe('a=1')
    expect(received.headers.get('Cache-Control')).toBe('public, max-age=60')
    expect(asked()?.url.href).toBe(`https://origin.example${path}`)
    expect(asked()?.headers.get('Cookie')).toBe('a=0')
    expect(asked()?.headers.get('X-Own')).toBe('own')
    // How the rest of the zone is cached is not the Worker's affair.
    expect(asked()?.cf.cacheTtlByStatus).toBeUndefined()
  })

  test('a redirect is the browser’s to follow', async () => {
    answer = () => new Response(null, { status: 303, headers: { Location: 'https://elsewhere.example/' } })
    const { status, headers } = await edge.fetch('/login', { method: 'POST' })
    expect([status, headers.get('Location')]).toEqual([303, 'https://elsewhere.example/'])
  })
})

describe('identity', () => {
  test('of a verified token is what the origin sees, and nothing else of the client', async () => {
    answer = async (request) => json({ identity: await identify(request), headers: [...request.headers.keys()] })
    const { text } = await edge.fetch('/api/mizan/ctx/notes/', {
      headers: { ...bearer(ann), Cookie: 'session=bob', 'X-Mizan-Identity': 'forged' },
    })
    expect(JSON.parse(text).identity).toEqual({ id: 'ann' })
    expect(JSON.parse(text).headers.filter((name: string) => !name.startsWith('cf-'))).toEqual([
      'accept',
      'x-mizan-identity',
    ])
  })

  test('of a mutation is established too', async () => {
    answer = async (request) => json(await identify(request))
    expect((await edge.call('write', {}, ann)).text).toBe('{"id":"ann"}')
    expect(asked()?.headers.get('Authorization')).toBe(`Bearer ${ann}`)
  })

  test('cannot be forged', async () => {
    answer = async (request) =>
      json({ identity: await identify(request), header: request.headers.get('X-Mizan-Identity') })
    const forged = `${Math.floor(Date.now() / 1000)}.${'0'.repeat(64)}.ann`
    for (const path of ['/api/mizan/ctx/notes/', '/api/mizan/call/', '/account']) {
      const { text } = await edge.fetch(path, { headers: { 'X-Mizan-Identity': forged } })
      expect(JSON.parse(text)).toEqual({ identity: null, header: null })
    }
  })

  test('is asked for in the query in vain', async () => {
    answer = async (request) => json(await identify(request))
    const { text } = await edge.fetch('/api/mizan/ctx/notes/?u=ann&_mizan_key=ctx:notes:x')
    expect(text).toBe('null')
    expect(edge.cdn.entries.size).toBe(0)
  })
})

describe('mutations', () => {
  const invalidating = (header: string) => () => json({ result: null }, { headers: { 'X-Mizan-Invalidate': header } })

  test('purge what their header says, once each', async () => {
    answer = invalidating('user;user_id=5, board, board, unknown')
    const { headers } = await edge.call('rename', {})
    expect(headers.get('X-Mizan-Purge')).toBe('done')
    expect(headers.get('X-Mizan-Invalidate')).toBe('user;user_id=5, board, board, unknown')
    expect(edge.cdn.purgeCalls[0]?.tags).toEqual(['ctx:user', 'ctx:board', 'ctx:unknown'])
  })

  test('that invalidate nothing purge nothing', async () => {
    const { headers } = await edge.call('rename', {})
    expect(headers.get('X-Mizan-Purge')).toBeNull()
    expect(edge.cdn.purgeCalls).toEqual([])
  })

  test('are seen at whatever path the origin takes them', async () => {
    answer = invalidating('board')
    await edge.fetch('/api/mizan/%63all/', { method: 'POST', body: '{}' })
    expect(edge.cdn.purgeCalls[0]?.tags).toEqual(['ctx:board'])
  })

  test('purge while the reader who asks meanwhile gets what is there after', async () => {
    await edge.fetch('/api/mizan/ctx/board/')
    answer = invalidating('board')
    await edge.call('post', {})
    answer = () => json('after')
    expect((await edge.fetch('/api/mizan/ctx/board/')).text).toBe('"after"')
  })

  test.each([502, 504, 520, 524])('whose outcome is not known (%i) purge whatever mutations change', async (status) => {
    answer = () => json(null, { status })
    const { headers } = await edge.call('post', {})
    expect(headers.get('X-Mizan-Purge')).toBe('done')
    expect(edge.cdn.purgeCalls[0]?.tags).toEqual(['ctx:board', 'ctx:user'])
  })

  test('of a client that has left are purged', async () => {
    let arrived = () => {}
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve
    })
    let commit = () => {}
    const committed = new Promise<void>((resolve) => {
      commit = resolve
    })
    answer = async () => {
      arrived()
      await committed
      return invalidating('board')()
    }
    const client = httpRequest(new URL('/api/mizan/call/', edge.address), { method: 'POST' })
    client.on('error', () => {})
    client.end('{}')
    await arrival
    const left = new Promise((resolve) => client.on('close', resolve))
    client.socket?.resetAndDestroy()
    await left
    // That the runtime ends what nothing waits for shows nowhere; without this pause the mutation might be quicker.
    await new Promise((resolve) => setTimeout(resolve, 500))
    commit()
    await vi.waitFor(() => expect(edge.cdn.purgeCalls.map(({ tags }) => tags)).toContainEqual(['ctx:board']), 10_000)
  })
})

test('a secret is imported once, however many keys are derived', async () => {
  await Promise.all(Array.from({ length: 20 }, (_, id) => edge.fetch(`/api/mizan/ctx/user/?user_id=${id}`)))
  expect(new Set(edge.cdn.fetched.map(({ url }) => url.searchParams.get('_mizan_key'))).size).toBe(20)
  // One for the keys; none for tokens, since nobody has signed in to these.
  const fresh = await startEdge({ manifest: MANIFEST, origin: async () => json(1) })
  try {
    await Promise.all(Array.from({ length: 20 }, (_, id) => fresh.fetch(`/api/mizan/ctx/user/?user_id=${id}`)))
    expect((await fresh.fetch('/test/imports')).text).toBe('1')
  } finally {
    await fresh.stop()
  }
})

test.each([
  ['a secret that is too short', { MIZAN_CACHE_SECRET: 'short' }, 'MIZAN_CACHE_SECRET'],
  ['no purge token', { MIZAN_PURGE_TOKEN: '' }, 'MIZAN_PURGE_TOKEN'],
])('with %s the Worker says what it lacks, and not what it has', async (_name, bindings, told) => {
  const wrong = await startEdge({ manifest: MANIFEST, origin: async () => json(1), bindings })
  try {
    const { status, text } = await wrong.fetch('/api/mizan/ctx/board/')
    expect(status).toBe(500)
    expect(JSON.parse(text).error).toMatchObject({ code: 'misconfigured', message: expect.stringContaining(told) })
    expect(text).not.toContain('short"')
  } finally {
    await wrong.stop()
  }
})

test('an origin that cannot be reached is 502, coded', async () => {
  vi.spyOn(console, 'error').mockReturnValue()
  const alone = await startEdge({ manifest: MANIFEST, origin: 'http://127.0.0.1:1' })
  try {
    for (const path of ['/api/mizan/ctx/board/', '/api/mizan/ctx/live/', '/account']) {
      const { status, text, headers } = await alone.fetch(path)
      expect([status, JSON.parse(text).error.code]).toEqual([502, 'bad_gateway'])
      expect(headers.get('Cache-Control')).toBe('no-store')
    }
  } finally {
    await alone.stop()
  }
})
