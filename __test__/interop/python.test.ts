/** Node and Python on one Redis: the same keys, the same values, and leases that one of them does not know. */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Cache, Scope } from '../../cache/index.ts'
import { findPython } from '../../scripts/python.mjs'
import { type PeerCall as Call, PythonPeer } from '../support/python-peer.ts'
import { openCache, SECRET } from '../support/redis-cache.ts'
import { type Observer, RedisServer } from '../support/redis-server.ts'

const calls: Call[] = [
  { context: 'user', params: {} },
  { context: 'user', params: { user_id: 5 } },
  { context: 'user', params: { user_id: '5' }, userId: 'u1', rev: 3 },
  { context: 'user', params: { user_id: 5 }, userId: '' },
  { context: 'user', params: { user_id: 5 }, userId: 0 },
  {
    context: 'order.list',
    params: { filter: { tags: ['ü', '😀', '\u007f', 'a/b"\\'], open: true, before: null }, page: 1.5 },
  },
  { context: 'order.list', params: { Z: 1, a: 2, é: 3, '\uffee': 4, '😀': 5, '': 6 } },
  { context: '0', params: { large: 9_007_199_254_740_991, small: 1e-7, negative: -0.25 } },
]
const body = (index: number) => JSON.stringify({ index, name: 'Ayşe 😀', text: 'a\nb' })

let server: RedisServer
let observer: Observer
let peer: PythonPeer

beforeAll(async () => {
  server = await RedisServer.start()
  observer = await server.observe()
  peer = new PythonPeer(await findPython(), server.url, SECRET)
})

afterAll(async () => {
  peer?.end()
  await server?.stop()
})

beforeEach(async () => {
  await observer.flushAll()
})

const open = () => openCache({ redisUrl: server.url })
const scopeOf = ({ userId, rev }: Call): Scope => ({ userId, rev })
const put = (cache: Cache, call: Call, value: string, lease: string | null = null) =>
  cache.put(call.context, call.params, value, { ...scopeOf(call), lease })
const get = (cache: Cache, call: Call) => cache.get(call.context, call.params, scopeOf(call))
const lookup = (cache: Cache, call: Call) => cache.lookup(call.context, call.params, scopeOf(call))
const purge = (cache: Cache, call: Call) => cache.purge(call.context, call.params, scopeOf(call))

async function takeLease(cache: Cache, call: Call): Promise<string> {
  const { lease } = await lookup(cache, call)
  expect(lease).toEqual(expect.any(String))
  return lease as string
}

describe.each(calls.map((call, index) => ({ call, index, title: JSON.stringify(call) })))(
  '$title',
  ({ call, index }) => {
    test('what one writes the other reads, and deletes', async () => {
      const cache = open()
      expect(await peer.ask('key', call)).toBe(cache.deriveKey(call.context, call.params, scopeOf(call)))
      expect(await put(cache, call, body(index))).toBe(true)
      expect(await peer.ask('get', call)).toBe(body(index))
      expect(await peer.ask('del', call)).toBe(1)
      expect(await get(cache, call)).toBe(null)

      expect(await peer.ask('set', call, body(index + 100))).toBe(true)
      expect(await get(cache, call)).toBe(body(index + 100))
      expect(await lookup(cache, call)).toEqual({ value: body(index + 100), lease: null, held: null })
      expect(await purge(cache, call)).toBe(1)
      expect(await peer.ask('get', call)).toBe(null)
    })
  },
)

test('a broad purge takes what the other wrote too, and clear as well', async () => {
  const cache = open()
  for (const [index, call] of calls.entries()) {
    await (index % 2 === 0 ? put(cache, call, body(index)) : peer.ask('set', call, body(index)))
  }
  expect(await cache.purge('user')).toBe(5)
  expect(await peer.ask('get', calls[1] as Call)).toBe(null)
  expect(await peer.ask('get', calls[5] as Call)).toBe(body(5))
  expect(await cache.clear()).toBe(3)
  expect(await observer.dbSize()).toBe(0)
})

describe('a standing lease', () => {
  const call = calls[2] as Call

  test('is a failed read to the other, and stands on', async () => {
    const cache = open()
    const lease = await takeLease(cache, call)
    expect(await peer.ask('get', call)).toEqual({ failed: expect.stringContaining('WRONGTYPE') })
    expect((await lookup(cache, call)).held).toBe(lease)
    expect(await put(cache, call, 'filled', lease)).toBe(true)
    expect(await peer.ask('get', call)).toBe('filled')
  })

  test('is revoked by the other’s DEL', async () => {
    const cache = open()
    const lease = await takeLease(cache, call)
    expect(await peer.ask('del', call)).toBe(1)
    expect(await put(cache, call, 'stale', lease)).toBe(false)
    expect(await peer.ask('get', call)).toBe(null)
    // And the next lease is no one's old one.
    expect(await takeLease(cache, call)).not.toBe(lease)
  })

  test('loses to the other’s SET', async () => {
    const cache = open()
    const lease = await takeLease(cache, call)
    expect(await peer.ask('set', call, 'of Python')).toBe(true)
    expect(await put(cache, call, 'stale', lease)).toBe(false)
    expect(await get(cache, call)).toBe('of Python')
    expect(await peer.ask('get', call)).toBe('of Python')
  })
})
