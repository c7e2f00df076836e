import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Cache } from '../../cache/index.ts'
import { type Chain, startChain } from './support/chain.ts'
import { bearer, type Edge, signIn } from './support/edge.ts'
import { bundles, Shop, shopOrigin } from './support/shop.ts'

const edgeStatus = (headers: Headers) => headers.get('Cache-Status')?.split(', ').at(-1)

const shop = new Shop()

let chain: Chain
let cache: Cache
let edge: Edge
let ann: string
let bob: string

beforeAll(async () => {
  chain = await startChain((cache, authenticate) => shopOrigin(shop, { cache, authenticate }))
  ;({ cache, edge } = chain)
  ann = await signIn('ann')
  bob = await signIn('bob')
})

afterAll(() => chain?.stop())

beforeEach(async () => {
  edge.cdn.entries.clear()
  edge.cdn.fetched.length = 0
  edge.cdn.purgeCalls.length = 0
  await cache.clear()
})

describe('a public context', () => {
  test('miss, hit, mutation, purge, miss', async () => {
    shop.rename(5, 'Eve')
    const read = () => edge.fetch('/api/mizan/ctx/profile/?user_id=5')
    const first = await read()
    expect([first.text, edgeStatus(first.headers)]).toEqual([bundles.profile(shop, 5), 'mizan-edge; fwd=miss'])
    const second = await read()
    expect([second.text, edgeStatus(second.headers)]).toEqual([first.text, 'mizan-edge; hit'])
    const renamed = await edge.call('rename', { user_id: 5, name: 'Eva' })
    expect([renamed.status, renamed.headers.get('X-Mizan-Purge')]).toEqual([200, 'done'])
    const third = await read()
    expect([third.text, edgeStatus(third.headers)]).toEqual([
      '{"profile_card":{"id":5,"name":"Eva"}}',
      'mizan-edge; fwd=miss',
    ])
  })

  test('a mutation purges the one entry that it changed', async () => {
    for (const id of [5, 6]) await edge.fetch(`/api/mizan/ctx/profile/?user_id=${id}`)
    await edge.call('rename', { user_id: 5, name: 'Mia' })
    expect(edge.cdn.purgeCalls[0]?.tags).toEqual([await keyOf('profile', { user_id: 5 }, 3)])
    expect(edgeStatus((await edge.fetch('/api/mizan/ctx/profile/?user_id=6')).headers)).toBe('mizan-edge; hit')
  })

  test('the purge is sent again, and removes what was being filled while the first was made', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const profile = vi.spyOn(shop, 'profile').mockImplementationOnce((id) => {
      const stale = { id, name: shop.names.get(id) ?? null }
      return held.then(() => stale) as never
    })
    shop.rename(7, 'old')
    const reading = edge.fetch('/api/mizan/ctx/profile/?user_id=7')
    await vi.waitFor(() => expect(profile).toHaveBeenCalled())
    await edge.call('rename', { user_id: 7, name: 'new' })
    release()
    await reading
    expect(edge.cdn.entries.size).toBe(1)
    await vi.waitFor(() => expect(edge.cdn.entries.size).toBe(0), { timeout: 20_000 })
    expect((await edge.fetch('/api/mizan/ctx/profile/?user_id=7')).text).toBe(bundles.profile(shop, 7))
  })

  test.each([
    ['user_id=05', 'user_id=5'],
    ['user_id=%35', 'user_id=5'],
    ['user_id=+5', 'user_id=5'],
    ['user_id=5.0', 'user_id=5'],
    ['user_id=0x5', 'user_id=5'],
  ])('%s is the entry of %s, cached and purged with it', async (spelled, canonical) => {
    shop.rename(5, 'before')
    const path = `/api/mizan/ctx/profile/?${spelled}`
    await edge.fetch(path)
    expect(edgeStatus((await edge.fetch(path)).headers)).toBe('mizan-edge; hit')
    expect(edgeStatus((await edge.fetch(`/api/mizan/ctx/profile/?${canonical}`)).headers)).toBe('mizan-edge; hit')
    await edge.call('rename', { user_id: 5, name: 'after' })
    expect((await edge.fetch(path)).text).toBe('{"profile_card":{"id":5,"name":"after"}}')
  })

  test('what only the schema knows to be the same is purged too', async () => {
    await edge.fetch('/api/mizan/ctx/votes/?label=%20Tea')
    expect(edgeStatus((await edge.fetch('/api/mizan/ctx/votes/?label=%20Tea')).headers)).toBe('mizan-edge; hit')
    await edge.call('vote', { label: 'TEA ' })
    expect((await edge.fetch('/api/mizan/ctx/votes/?label=%20Tea')).text).toBe(bundles.votes(shop, 'tea'))
  })

  test('undeclared parameters make no entries, and are not passed on', async () => {
    await edge.fetch('/api/mizan/ctx/profile/?user_id=5&utm=1')
    expect(edgeStatus((await edge.fetch('/api/mizan/ctx/profile/?utm=2&user_id=5&utm=3')).headers)).toBe(
      'mizan-edge; hit',
    )
    expect([...(edge.cdn.fetched[0]?.url.searchParams.keys() ?? [])]).toEqual(['user_id', '_mizan_key'])
  })
})

describe('a user-scoped context', () => {
  test('miss, hit, mutation, purge, miss, for each user apart', async () => {
    shop.write('ann', 'mine')
    shop.write('bob', 'his')
    const read = (token: string) => edge.fetch('/api/mizan/ctx/notes/', { headers: bearer(token) })
    expect((await read(ann)).text).toBe('{"own_note":{"note":"mine","user":"ann"}}')
    const hers = await read(ann)
    expect([hers.text, edgeStatus(hers.headers)]).toEqual([bundles.notes(shop, 'ann'), 'mizan-edge; hit'])
    const his = await read(bob)
    expect([his.text, edgeStatus(his.headers)]).toEqual([bundles.notes(shop, 'bob'), 'mizan-edge; fwd=miss'])
    await edge.call('write_note', { text: 'changed' }, ann)
    const after = await read(ann)
    expect([after.text, edgeStatus(after.headers)]).toEqual([
      '{"own_note":{"note":"changed","user":"ann"}}',
      'mizan-edge; fwd=miss',
    ])
  })

  test('nobody is answered from the cache, and nothing is stored for nobody', async () => {
    await edge.fetch('/api/mizan/ctx/notes/', { headers: bearer(ann) })
    const stored = edge.cdn.entries.size
    const anonymous = await edge.fetch('/api/mizan/ctx/notes/')
    expect([anonymous.status, edgeStatus(anonymous.headers)]).toEqual([401, 'mizan-edge; fwd=bypass'])
    expect(edge.cdn.entries.size).toBe(stored)
  })

  test('two users never meet, also in a zone that knows no cache keys', async () => {
    edge.cdn.honoursCacheKey = false
    try {
      shop.write('ann', 'mine')
      for (const [token, user] of [
        [ann, 'ann'],
        [bob, 'bob'],
        [ann, 'ann'],
      ] as const) {
        const { text } = await edge.fetch('/api/mizan/ctx/notes/', { headers: bearer(token) })
        expect(text).toBe(bundles.notes(shop, user))
      }
    } finally {
      edge.cdn.honoursCacheKey = true
    }
  })

  test('two users never meet, also in a zone whose own rule caches everything', async () => {
    edge.cdn.cachesByDefault = true
    try {
      // Given twice, a parameter is the origin's affair: such a request is passed through with its identity.
      for (const [token, user] of [
        [ann, 'ann'],
        [bob, 'bob'],
        [undefined, null],
      ] as const) {
        const { text, status } = await edge.fetch('/api/mizan/ctx/notes/?%', { headers: bearer(token) })
        if (user === null) expect(status).toBe(401)
        else expect(text).toBe(bundles.notes(shop, user))
      }
      expect(edge.cdn.entries.size).toBe(0)
    } finally {
      edge.cdn.cachesByDefault = false
    }
  })

  test('an omitted parameter is the entry of its default', async () => {
    await edge.fetch('/api/mizan/ctx/inbox/', { headers: bearer(ann) })
    expect(edgeStatus((await edge.fetch('/api/mizan/ctx/inbox/?page=1', { headers: bearer(ann) })).headers)).toBe(
      'mizan-edge; hit',
    )
    await edge.call('send', { to: 'ann', text: 'hello' }, bob)
    expect((await edge.fetch('/api/mizan/ctx/inbox/', { headers: bearer(ann) })).text).toBe(
      bundles.inbox(shop, 'ann', 1),
    )
  })
})

async function keyOf(context: string, params: Record<string, string | number>, rev: number): Promise<string> {
  return cache.deriveKey(context, params, { rev })
}
