import { request } from 'node:http'
import { describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { createOrigin, HttpError } from '../../origin/index.ts'
import { authenticate, call, deferred, listen, openCache, receive, type Send, TRANSPORTS } from './support.ts'

const LIMIT = 1000
const JSON_TYPE = { 'content-type': 'application/json' }

const [CALL] = call('rename')
const post = (body: string | Uint8Array, headers: Record<string, string> = JSON_TYPE): RequestInit => ({
  method: 'POST',
  body,
  headers,
})

/** Everything that a request may do wrong: the request, its status and code. */
const MATRIX: [name: string, path: string, init: RequestInit, status: number, code: string][] = [
  ['an address that is nothing', '/api/mizan/', {}, 404, 'not_found'],
  ['an address beside the base path', '/api/mizanctx/user/?id=1', {}, 404, 'not_found'],
  ['an address that only starts like a context', '/api/mizan/ctx/user/more/?id=1', {}, 404, 'not_found'],
  ['a context without the last slash', '/api/mizan/ctx/user?id=1', {}, 404, 'not_found'],
  ['a context whose last slash is in the query', '/api/mizan/ctx/user?id=1/', {}, 404, 'not_found'],
  ['a context without a name', '/api/mizan/ctx//?id=1', {}, 404, 'not_found'],
  ['an address that only starts like the call', '/api/mizan/call/more/', post('{}'), 404, 'not_found'],
  ['an unknown context', '/api/mizan/ctx/nobody/', {}, 404, 'unknown_context'],
  ['a context that every object has', '/api/mizan/ctx/constructor/', {}, 404, 'unknown_context'],
  ['a function in place of its context', '/api/mizan/ctx/profile/', {}, 404, 'unknown_context'],
  ['an encoded name', '/api/mizan/ctx/%75ser/?id=1', {}, 404, 'unknown_context'],
  ['a context by POST', '/api/mizan/ctx/user/?id=1', post('{}'), 405, 'method_not_allowed'],
  ['a context by DELETE', '/api/mizan/ctx/user/?id=1', { method: 'DELETE' }, 405, 'method_not_allowed'],
  ['a call by GET', CALL, {}, 405, 'method_not_allowed'],
  ['a call by PUT', CALL, { ...post('{}'), method: 'PUT' }, 405, 'method_not_allowed'],
  ['a missing parameter', '/api/mizan/ctx/user/', {}, 422, 'invalid_params'],
  ['a bad parameter', '/api/mizan/ctx/user/?id=x', {}, 422, 'invalid_params'],
  ['a duplicated parameter', '/api/mizan/ctx/user/?id=1&id=1', {}, 400, 'duplicate_parameter'],
  ['a duplicated parameter under another spelling', '/api/mizan/ctx/user/?id=1&%69d=1', {}, 400, 'duplicate_parameter'],
  ['a parameter that is not UTF-8', '/api/mizan/ctx/user/?id=%ff', {}, 400, 'malformed_query'],
  ['no identity', '/api/mizan/ctx/cart/', {}, 401, 'unauthenticated'],
  ['an empty identity', '/api/mizan/ctx/cart/', { headers: { 'x-user': '' } }, 401, 'unauthenticated'],
  ['no identity, before the parameters are looked at', '/api/mizan/ctx/cart/?page=x', {}, 401, 'unauthenticated'],
  ['what the function forbids', '/api/mizan/ctx/cart/', { headers: { 'x-user': 'eve' } }, 403, 'forbidden'],
  ['a function that fails', '/api/mizan/ctx/broken/', {}, 500, 'internal_error'],
  ['no content type', CALL, post(new Uint8Array([0x7b, 0x7d]), {}), 415, 'unsupported_media_type'],
  [
    'a form',
    CALL,
    post('fn=rename', { 'content-type': 'application/x-www-form-urlencoded' }),
    415,
    'unsupported_media_type',
  ],
  [
    'text, as a form of another site sends it',
    CALL,
    post('{}', { 'content-type': 'text/plain' }),
    415,
    'unsupported_media_type',
  ],
  ['an encoded body', CALL, post('{}', { ...JSON_TYPE, 'content-encoding': 'gzip' }), 415, 'unsupported_media_type'],
  ['a body that is too large', CALL, post('x'.repeat(LIMIT + 1)), 413, 'body_too_large'],
  ['an empty body', CALL, post(''), 400, 'invalid_json'],
  ['a body that is not JSON', CALL, post('{"fn":'), 400, 'invalid_json'],
  ['a body that is not UTF-8', CALL, post(new Uint8Array([0x22, 0xff, 0x22])), 400, 'invalid_json'],
  ['a body that is no object', CALL, post('[]'), 400, 'invalid_call'],
  ['null', CALL, post('null'), 400, 'invalid_call'],
  ['no function', CALL, post('{"args":{}}'), 400, 'invalid_call'],
  ['a function that is no name', CALL, post('{"fn":1}'), 400, 'invalid_call'],
  ['arguments that are no object', CALL, post('{"fn":"rename","args":[]}'), 400, 'invalid_call'],
  ['null for arguments', CALL, post('{"fn":"rename","args":null}'), 400, 'invalid_call'],
  ['an unknown function', ...call('nothing'), 404, 'unknown_function'],
  ['a function that every object has', ...call('toString'), 404, 'unknown_function'],
  ['a function of a context', ...call('profile'), 404, 'unknown_function'],
  ['a private function', ...call('expire'), 403, 'private_function'],
  ['a call without an identity', ...call('add_item'), 401, 'unauthenticated'],
  ['bad arguments', ...call('rename', { name: 1 }), 422, 'invalid_args'],
  ['missing arguments', CALL, post('{"fn":"rename"}'), 422, 'invalid_args'],
  ['a mutation that fails', ...call('explode'), 500, 'internal_error'],
]

describe.each(['fetch', 'node'] as const)('errors through %s', (transport) => {
  async function open(onError: (error: unknown) => void = () => {}): Promise<Send> {
    const origin = createOrigin({ cache: openCache(), authenticate, limits: { bodyBytes: LIMIT }, onError })
    origin.context('user', { params: z.object({ id: z.coerce.number() }), functions: { profile: ({ id }) => id } })
    origin.context('cart', {
      auth: true,
      params: z.object({ page: z.coerce.number().optional() }),
      functions: {
        items: () => {
          throw new HttpError(403, 'forbidden', 'Not yours.')
        },
      },
    })
    const fail = () => Promise.reject(new Error('password of the database: hunter2'))
    origin.context('broken', { functions: { fails: fail } })
    origin.mutation('rename', { args: z.object({ name: z.string() }), run: ({ name }) => name })
    origin.mutation('expire', { private: true, run: () => 1 })
    origin.mutation('add_item', { auth: true, run: () => 1 })
    origin.mutation('explode', { run: fail })
    return TRANSPORTS[transport](origin)
  }

  test.each(MATRIX)('%s', async (_name, path, init, status, code) => {
    const onError = vi.fn()
    const response = await (await open(onError))(path, init)
    expect([response.status, response.json.error.code]).toEqual([status, code])
    expect(Object.keys(response.json)).toEqual(['error'])
    expect(Object.keys(response.json.error)).toEqual(['code', 'details', 'message'])
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(response.headers.has('x-mizan-invalidate')).toBe(false)
    expect(response.headers.has('allow')).toBe(status === 405)
    expect(response.text).not.toContain('hunter2')
    expect(onError).toHaveBeenCalledTimes(status === 500 ? 1 : 0)
  })

  test('405 tells what is allowed', async () => {
    const send = await open()
    expect((await send(CALL)).headers.get('allow')).toBe('POST, OPTIONS')
    expect((await send('/api/mizan/ctx/user/', { method: 'PATCH' })).headers.get('allow')).toBe('GET, HEAD, OPTIONS')
  })

  test('422 tells where the schema found what', async () => {
    const send = await open()
    const { error } = (await send(...call('rename', { name: 1 }))).json
    expect(error.details).toEqual([{ path: ['name'], message: expect.stringContaining('string') }])
  })

  test('a body of exactly the limit, in the charset of JSON, is read', async () => {
    const send = await open()
    const frame = JSON.stringify({ fn: 'rename', args: { name: '' } })
    const name = 'é'.repeat((LIMIT - frame.length) / 2)
    const body = JSON.stringify({ fn: 'rename', args: { name } }).padEnd(LIMIT - name.length, ' ')
    expect(new TextEncoder().encode(body)).toHaveLength(LIMIT)
    const response = await send(CALL, post(body, { 'content-type': 'Application/JSON; charset=utf-8' }))
    expect([response.status, response.json.result]).toEqual([200, name])
  })

  test('a body whose length is not told is read no further than the limit', async () => {
    const send = await open()
    const body = new ReadableStream({
      start(controller) {
        for (let chunk = 0; chunk < 4; chunk++) controller.enqueue(new Uint8Array(LIMIT / 2).fill(32))
        controller.close()
      },
    })
    const response = await send(CALL, { method: 'POST', headers: JSON_TYPE, body, duplex: 'half' } as RequestInit)
    expect([response.status, response.json.error.code]).toEqual([413, 'body_too_large'])
  })

  test.each([
    ['an HttpError whose details are not JSON', () => new HttpError(400, 'odd', 'Odd.', { big: 1n }), () => {}],
    [
      'a hook that throws',
      () => new Error('no'),
      () => {
        throw new Error('the hook')
      },
    ],
    ['a thrown undefined', () => undefined, () => {}],
  ])('%s is still answered', async (_case, thrown, onError) => {
    const origin = createOrigin({ cache: openCache(), onError })
    origin.context('odd', { functions: { odd_one: () => Promise.reject(thrown()) } })
    const send = await TRANSPORTS[transport](origin)
    expect((await send('/api/mizan/ctx/odd/')).status).toBe(500)
  })

  test('authenticate may refuse by itself; when it fails that is the fault of the server', async () => {
    const refusals = [new HttpError(403, 'banned', 'Banned.'), new Error('no session store')]
    const origin = createOrigin({
      cache: openCache(),
      authenticate: () => Promise.reject(refusals.shift()),
      onError: () => {},
    })
    origin.context('cart', { auth: true, functions: { items: () => [] } })
    const send = await TRANSPORTS[transport](origin)
    expect((await send('/api/mizan/ctx/cart/')).json.error.code).toBe('banned')
    expect((await send('/api/mizan/ctx/cart/')).json.error.code).toBe('internal_error')
  })
})

describe('node:http', () => {
  test('a client that goes away while it sends is no failure of the server', async () => {
    const onError = vi.fn()
    const run = vi.fn(() => 1)
    const origin = createOrigin({ cache: openCache(), onError })
    origin.mutation('rename', { run })
    const closed = new Promise<void>((resolve) => {
      listen((incoming, response) => {
        response.on('close', resolve)
        origin.node(incoming, response)
      }).then((address) => {
        const leaving = request(address + CALL, { method: 'POST', headers: { ...JSON_TYPE, 'content-length': 100 } })
        leaving.on('error', () => {})
        leaving.write('{"fn":', () => leaving.destroy())
      })
    })
    await closed
    expect(run).not.toHaveBeenCalled()
    expect(onError).not.toHaveBeenCalled()
  })

  test('a response that somebody else has sent is left alone', async () => {
    const origin = createOrigin({ cache: openCache() })
    origin.context('news', { functions: { headlines: () => 1 } })
    const seen = deferred()
    const address = await listen((incoming, response) => {
      response.writeHead(503, { 'Cache-Control': 'no-store' }).end('too late')
      origin.node(incoming, {
        get headersSent() {
          seen.resolve()
          return response.headersSent
        },
        writeHead: (...head) => response.writeHead(...head),
        end: (body) => response.end(body),
      })
    })
    const response = await receive(fetch(`${address}/api/mizan/ctx/news/`))
    await seen.promise
    expect([response.status, response.text]).toEqual([503, 'too late'])
  })

  test('a body that a parser has read before is taken from it, under the same rules', async () => {
    const origin = createOrigin({ cache: openCache() })
    origin.mutation('echo', { args: z.looseObject({}), run: (args) => args })
    const address = await listen(async (incoming, response) => {
      const parsed: typeof incoming & { body?: unknown } = incoming
      let text = ''
      for await (const chunk of parsed) text += chunk
      parsed.body = JSON.parse(text)
      origin.node(incoming, response)
    })
    const send: Send = (path, init) => receive(fetch(address + path, init))
    expect((await send(...call('echo', { a: [1] }))).json.result).toEqual({ a: [1] })
    expect((await send(CALL, post('{"fn":"echo","args":{"__proto__":{}}}'))).status).toBe(400)
  })
})
