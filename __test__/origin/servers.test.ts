import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { expect, onTestFinished, test, vi } from 'vitest'
import { z } from 'zod'
import { createOrigin } from '../../origin/index.ts'
import { authenticate, call, listen, openCache, receive, type Send } from './support.ts'

/** The same origin behind each server: a context that is cached, a mutation that purges it, and a user. */
function openOrigin() {
  let name = 'Ann'
  const origin = createOrigin({ cache: openCache(), authenticate })
  origin.context('user', {
    params: z.object({ user_id: z.string() }),
    auth: true,
    functions: { user_name: () => name },
  })
  origin.mutation('rename', {
    args: z.object({ user_id: z.string(), name: z.string() }),
    auth: true,
    affects: [{ context: 'user', user: 'self' }],
    run: (args) => {
      name = args.name
    },
  })
  return origin
}

async function serves(send: Send): Promise<void> {
  const ann = { 'x-user': 'ann' }
  const read = async () => (await send('/api/mizan/ctx/user/?user_id=1', { headers: ann })).text
  expect(await read()).toBe('{"user_name":"Ann"}')
  await vi.waitFor(async () => {
    const hit = await send('/api/mizan/ctx/user/?user_id=1', { headers: ann })
    expect(hit.headers.get('cache-status')).toBe('mizan; hit')
  })
  const renamed = await send(...call('rename', { user_id: '1', name: 'Anna' }, ann))
  expect([renamed.status, renamed.headers.get('x-mizan-invalidate')]).toEqual([200, 'user;user_id=1'])
  expect(await read()).toBe('{"user_name":"Anna"}')
  expect((await send('/api/mizan/nothing/')).status).toBe(404)
  expect((await send('/api/mizan/call/')).status).toBe(405)
}

const over =
  (address: string): Send =>
  (path, init) =>
    receive(fetch(address + path, init))

test('node:http', async () => {
  await serves(over(await listen(openOrigin().node)))
})

test('Express 5, mounted below a path, beside its own body parser', async () => {
  const origin = openOrigin()
  const app = express()
  app.use(express.json())
  app.use('/api/mizan', (request, response) => origin.node(request, response))
  await serves(over(await listen(app)))
})

test('Fastify 5, by its raw request and response', async () => {
  const origin = openOrigin()
  const app = Fastify()
  onTestFinished(() => app.close())
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.all('/api/mizan/*', (request, reply) => {
    reply.hijack()
    origin.node(request.raw, reply.raw)
  })
  await serves(over(await app.listen({ port: 0, host: '127.0.0.1' })))
})

test('Hono', async () => {
  const origin = openOrigin()
  const app = new Hono()
  app.all('/api/mizan/*', (context) => origin.fetch(context.req.raw))
  await serves((path, init) => receive(app.request(`http://origin.test${path}`, init)))
})

test('route handlers as Next has them', async () => {
  const origin = openOrigin()
  const GET = (request: Request) => origin.fetch(request)
  const handlers = { GET, POST: GET }
  await serves((path, init) => {
    const method = init?.method === 'POST' ? 'POST' : 'GET'
    return receive(handlers[method](new Request(`http://origin.test${path}`, init)))
  })
})

test('what is in memory is answered before the handler returns: a hit waits for nothing', async () => {
  const cache = openCache()
  const origin = createOrigin({ cache, authenticate })
  origin.context('user', {
    params: z.object({ user_id: z.string() }),
    auth: true,
    functions: { user_name: () => 'Ann' },
  })
  await cache.put('user', { user_id: '1' }, '{"user_name":"Ann"}', { userId: 'ann' })
  const end = vi.fn()
  origin.node(
    {
      method: 'GET',
      url: '/api/mizan/ctx/user/?user_id=1',
      headers: { 'x-user': 'ann' },
      readableEnded: false,
      on: () => {},
    },
    { headersSent: false, writeHead: () => {}, end },
  )
  expect(end.mock.calls[0]?.[0]).toBe('{"user_name":"Ann"}')
})
