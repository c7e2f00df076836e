import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Edge, startEdge } from './support/edge.ts'
import { MANIFEST } from './support/manifest.ts'

let edge: Edge
let invalidate: (call: number) => string
let calls: number

beforeEach(async () => {
  calls = 0
  invalidate = () => 'board'
  edge = await startEdge({
    manifest: { ...MANIFEST, namesEntries: true },
    origin: async (request) => {
      const { pathname, searchParams } = new URL(request.url)
      if (pathname.endsWith('/call/')) {
        return Response.json({ result: null }, { headers: { 'X-Mizan-Invalidate': invalidate(calls++) } })
      }
      const id = searchParams.get('user_id')
      return Response.json(
        { fresh: calls },
        { headers: { 'X-Mizan-Entry': id === null ? 'board' : `user;user_id=${id}` } },
      )
    },
  })
})

afterEach(() => edge?.stop())

const answering = (status: number, headers?: Record<string, string>) => () =>
  Response.json({ success: false, errors: [{ code: 1, message: 'no' }] }, { status, ...(headers && { headers }) })

const state = async () => (await edge.call('post', {})).headers.get('X-Mizan-Purge')

test('each purge is sent again', async () => {
  expect(await state()).toBe('done')
  expect(edge.cdn.purgeCalls).toHaveLength(1)
  await vi.waitFor(() => expect(edge.cdn.purgeCalls).toHaveLength(2), 20_000)
  expect(edge.cdn.purgeCalls.map(({ tags }) => tags)).toEqual([['ctx:board'], ['ctx:board']])
})

test('a call that fails for a moment is tried again before the mutation is answered', async () => {
  let left = 2
  edge.cdn.apiFailure = () => {
    if (--left === 0) edge.cdn.apiFailure = null
    return answering(500)()
  }
  expect(await state()).toBe('done')
  expect(edge.cdn.purgeCalls.map(({ status }) => status)).toEqual([500, 500, 200])
  expect(edge.failures).toEqual([])
})

test('an answer of success that is none is a failure', async () => {
  edge.cdn.apiFailure = () => {
    edge.cdn.apiFailure = null
    return answering(200)()
  }
  expect(await state()).toBe('done')
  expect(edge.cdn.purgeCalls).toHaveLength(2)
})

test('a call that cannot succeed is not tried again, and is seen by the caller and by the hook', async () => {
  edge.cdn.apiFailure = answering(403)
  const { status, headers } = await edge.call('post', {})
  expect([status, headers.get('X-Mizan-Purge')]).toEqual([200, 'failed'])
  expect(edge.failures).toEqual([
    { tags: ['ctx:board'], reason: 'the purge API answered 403', attempts: 1, repetition: false },
  ])
  await vi.waitFor(() => expect(edge.failures).toHaveLength(2), 20_000)
  expect(edge.failures[1]).toMatchObject({ repetition: true })
})

test('a purge API that does not answer holds up neither the mutation nor a reader, and is given up', async () => {
  await edge.fetch('/api/mizan/ctx/board/')
  edge.cdn.apiFailure = () => new Promise(() => {})
  expect(await state()).toBe('pending')
  // Not what the CDN has: it may be what the purge is to remove.
  const { text, headers } = await edge.fetch('/api/mizan/ctx/board/')
  expect([text, headers.get('Cache-Status')]).toEqual([JSON.stringify({ fresh: calls }), 'mizan-edge; fwd=bypass'])
  await vi.waitFor(() => expect(edge.failures).toHaveLength(2), 40_000)
  expect(edge.failures.map(({ repetition }) => repetition)).toEqual([false, true])
  expect(edge.failures[0]?.attempts).toBeGreaterThan(2)
})

test('a limit of calls is kept to', async () => {
  edge.cdn.apiFailure = () => {
    edge.cdn.apiFailure = null
    return answering(429, { 'Retry-After': '3' })()
  }
  expect(await state()).toBe('pending')
  await vi.waitFor(() => expect(edge.cdn.purgeCalls.map(({ status }) => status)).toEqual([429, 200]), 20_000)
  expect(edge.failures).toEqual([])
})

test('a purge of more than 100 tags is as many calls as it needs', async () => {
  invalidate = () => Array.from({ length: 250 }, (_, id) => `user;user_id=${id}`).join(', ')
  expect(await state()).toBe('done')
  expect(edge.cdn.purgeCalls.map(({ tags, status }) => [tags.length, status])).toEqual([
    [100, 200],
    [100, 200],
    [50, 200],
  ])
})

test('purges of many mutations at once are collected, and every one is made before its mutation is answered', async () => {
  invalidate = (call) => `user;user_id=${call}`
  for (let id = 0; id < 60; id++) await edge.fetch(`/api/mizan/ctx/user/?user_id=${id}`)
  expect(edge.cdn.entries.size).toBe(60)
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  edge.cdn.apiFailure = async () => {
    edge.cdn.apiFailure = null
    await opened
    return answering(500)()
  }
  const answers = Array.from({ length: 60 }, state)
  await vi.waitFor(() => expect(calls).toBe(60), 20_000)
  open()
  expect(new Set(await Promise.all(answers))).toEqual(new Set(['done']))
  expect(edge.cdn.entries.size).toBe(0)
  // The first, its second try, and one for all that came meanwhile; a few more if some came late.
  expect(edge.cdn.purgeCalls.filter(({ status }) => status === 200).length).toBeLessThan(20)
  expect(edge.failures).toEqual([])
})

test('a context is purged as a whole where the key is not certain', async () => {
  invalidate = () => 'user;user_id=5;page=1, user;page=1, user, notes;x=1'
  await state()
  expect(edge.cdn.purgeCalls[0]?.tags).toEqual(['ctx:user', 'ctx:notes'])
})
