/**
 * Attacks on the invalidation header: by a value that a mutation takes from its caller, to purge what others read, to keep
 * a purge from reaching what was changed, or to write headers of one's own.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { Cache } from '../../cache/index.ts'
import { createOrigin, formatInvalidation, parseInvalidation } from '../../origin/index.ts'
import { type Edge, SECRET, startEdge } from '../edge/support/edge.ts'
import { listen } from '../origin/support.ts'

const HOSTILE = [
  'x, board',
  'x,board',
  'x;label=b',
  'x;label=b, board',
  'b, votes',
  '=',
  ';',
  ',',
  'a=b',
  '%2C board',
  '%252C',
  '%',
  '%zz',
  '%0d%0a',
  'x\r\nX-Mizan-Invalidate: board',
  'x\r\n\r\n<html>',
  'x\nX-Mizan-Invalidate: board',
  'x\0',
  '\u2028',
  '\u010d\u010a',
  '\u56fd\u560d\u560a',
  '\u{1f600}',
  'Zo\u00eb',
  'Zoe\u0308',
  '\u202eb',
  "'()*!~",
  '"quoted"',
  'a\\,b',
  ' b',
  'b ',
  '+',
  'b+b',
  '__proto__',
  'constructor',
  '*',
  'ctx:votes:*',
]

const votes = new Map<string, number>()
const cache = new Cache({ secret: SECRET })
const origin = createOrigin({ cache })
const LABEL = z.object({ label: z.string() })
origin.context('board', { functions: { posts: () => votes.size } })
origin.context('votes', { params: LABEL, functions: { count: ({ label }) => votes.get(label) ?? 0 } })
origin.mutation('vote', {
  args: LABEL,
  affects: ['votes'],
  run: ({ label }) => void votes.set(label, (votes.get(label) ?? 0) + 1),
})

let edge: Edge

beforeAll(async () => {
  edge = await startEdge({ manifest: origin.manifest(), origin: origin.fetch })
})

afterAll(async () => {
  await edge?.stop()
  await cache.close()
})

beforeEach(async () => {
  votes.clear()
  edge.cdn.entries.clear()
  edge.cdn.purgeCalls.length = 0
  await cache.clear()
})

const pathOf = (label: string) => `/api/mizan/ctx/votes/?label=${encodeURIComponent(label)}`
const isHit = (headers: Headers) => headers.get('Cache-Status')?.endsWith('mizan-edge; hit')

describe('through origin and edge, a vote for a label purges the label, and nothing of anybody else', () => {
  test.each(HOSTILE)('%j', async (label) => {
    const victims = ['/api/mizan/ctx/board/', pathOf('b'), pathOf('x'), pathOf('')].filter(
      (path) => path !== pathOf(label),
    )
    for (const path of [...victims, pathOf(label)]) {
      await edge.fetch(path)
      expect(isHit((await edge.fetch(path)).headers), path).toBe(true)
    }
    const voted = await edge.call('vote', { label })
    expect(voted.status).toBe(200)
    expect(edge.cdn.purgeCalls.map(({ tags }) => tags)).toContainEqual([cache.deriveKey('votes', { label })])
    expect((await edge.fetch(pathOf(label))).text).toBe('{"count":1}')
    for (const path of victims) expect(isHit((await edge.fetch(path)).headers), path).toBe(true)
  })

  // Proxies refuse long headers, and a header that is cut purges something else.
  test.each(['x'.repeat(4200), '\u{1f600}'.repeat(350), ','.repeat(1400)])(
    'a label whose header would be too long purges the whole context',
    async (label) => {
      await edge.fetch(pathOf(label))
      const { headers } = await edge.call('vote', { label })
      expect(headers.get('X-Mizan-Invalidate')).toBe('votes')
      expect((await edge.fetch(pathOf(label))).text).toBe('{"count":1}')
    },
  )
})

test('in bytes, the header is one line of unreserved characters', async () => {
  const address = await listen(origin.node)
  for (const label of HOSTILE) {
    const response = await fetch(`${address}/api/mizan/call/`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ fn: 'vote', args: { label } }),
    })
    expect(response.headers.get('X-Mizan-Invalidate')).toMatch(/^votes;label=[\w.~%-]*$/)
    expect([...response.headers.keys()].filter((name) => name.startsWith('x-'))).toEqual(['x-mizan-invalidate'])
  }
})

test('no text that is written for one target is read as another or as two', () => {
  for (const label of HOSTILE) {
    const target = { context: 'votes', params: { label } }
    expect(parseInvalidation(formatInvalidation([target, 'board']))).toEqual([
      target,
      { context: 'board', params: null },
    ])
  }
})

// A header that somebody on the way has changed: never less is purged than the contexts that it still names.
test.each([
  ['votes;label=a%', 'votes'],
  ['votes;label=a;', 'votes'],
  ['votes;label=a;label=b', 'votes'],
  ['votes;LABEL=a', 'votes'],
  ['votes;la bel=a', 'votes'],
  ['votes;constructor', 'votes'],
  ['votes;=a', 'votes'],
  ['votes ;label=a', ''],
  ['\tvotes\t', 'votes'],
  ['votes;label=a,,,board', 'votes board'],
])('%j purges %j', (header, contexts) => {
  const targets = parseInvalidation(header)
  expect(targets.map(({ context }) => context).join(' ')).toBe(contexts)
  expect(
    targets.filter(({ context }) => context === 'votes').every(({ params }) => !params || params.label === 'a'),
  ).toBe(true)
})

test('a purge that the API has not confirmed is not passed off as done by a header of the client', async () => {
  edge.cdn.apiFailure = () => new Response(null, { status: 403 })
  try {
    const { headers } = await edge.fetch('/api/mizan/call/', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Mizan-Purge': 'done', 'X-Mizan-Invalidate': 'board' },
      body: JSON.stringify({ fn: 'vote', args: { label: 'a' } }),
    })
    expect(headers.get('X-Mizan-Purge')).toBe('failed')
    await vi.waitFor(() => expect(edge.failures.length).toBeGreaterThan(0))
    expect(edge.cdn.purgeCalls.flatMap(({ tags }) => tags)).not.toContain('ctx:board')
  } finally {
    edge.cdn.apiFailure = null
  }
})
