import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Chain, startChain } from './support/chain.ts'
import { bearer, signIn } from './support/edge.ts'
import { bundles, Shop, shopOrigin } from './support/shop.ts'

const STEPS = 2000
const USERS = ['ann', 'bob', 'cem'] as const

type User = (typeof USERS)[number]

/** A request of one user: what it asks the edge, and what the model answers without any cache. */
interface Step {
  readonly path?: string
  readonly call?: readonly [fn: string, args: object]
  readonly user: User
  /** The body of a read; a mutation changes the model instead. */
  readonly model: (shop: Shop) => string | undefined
}

const user = fc.constantFrom(...USERS)
const text = fc.string({ maxLength: 8 })
const userId = fc.integer({ min: 1, max: 3 })
const label = fc.constantFrom('tea', 'Tea', ' TEA', 'coffee', 'ÇAY', 'çay')
const page = fc.constantFrom(undefined, 1, 2)

/** The spellings of a number that mean the same to the origin. */
const spelling = (value: number) =>
  fc.constantFrom(`${value}`, `0${value}`, `${value}.0`, `+${value}`, `%3${value}`, `${value}&utm=1`)

const read: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ user, id: userId }).chain(({ user, id }) =>
    spelling(id).map((spelled) => ({
      user,
      path: `profile/?user_id=${spelled}`,
      model: (shop: Shop) => bundles.profile(shop, id),
    })),
  ),
  user.map((user) => ({ user, path: 'board/', model: (shop: Shop) => bundles.board(shop) })),
  fc.record({ user, label }).map(({ user, label }) => ({
    user,
    path: `votes/?label=${encodeURIComponent(label)}`,
    model: (shop: Shop) => bundles.votes(shop, label.trim().toLowerCase()),
  })),
  fc.record({ user, page }).map(({ user, page }) => ({
    user,
    path: page === undefined ? 'inbox/' : `inbox/?page=${page}`,
    model: (shop: Shop) => bundles.inbox(shop, user, page ?? 1),
  })),
  fc.record({ user, id: userId }).map(({ user, id }) => ({
    user,
    path: `drafts/?draft_id=${id}`,
    model: (shop: Shop) => bundles.drafts(shop, user, id),
  })),
  user.map((user) => ({ user, path: 'notes/', model: (shop: Shop) => bundles.notes(shop, user) })),
)

const mutation: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ user, id: userId, text }).map(({ user, id, text }) => ({
    user,
    call: ['rename', { user_id: id, name: text }] as const,
    model: (shop: Shop) => void shop.rename(id, text),
  })),
  fc.record({ user, text }).map(({ user, text }) => ({
    user,
    call: ['post', { text }] as const,
    model: (shop: Shop) => void shop.post(text),
  })),
  fc.record({ user, label }).map(({ user, label }) => ({
    user,
    call: ['vote', { label }] as const,
    model: (shop: Shop) => void shop.vote(label.trim().toLowerCase()),
  })),
  fc.record({ user, to: user, text }).map(({ user, to, text }) => ({
    user,
    call: ['send', { to, text }] as const,
    model: (shop: Shop) => void shop.send(user, to, text),
  })),
  fc.record({ user, id: userId, text }).map(({ user, id, text }) => ({
    user,
    call: ['write_draft', { draft_id: id, text }] as const,
    model: (shop: Shop) => void shop.writeDraft(user, id, text),
  })),
  fc.record({ user, text }).map(({ user, text }) => ({
    user,
    call: ['write_note', { text }] as const,
    model: (shop: Shop) => void shop.write(user, text),
  })),
)

let chain: Chain

beforeAll(async () => {
  chain = await startChain((cache, authenticate) => shopOrigin(new Shop(), { cache, authenticate }))
})

afterAll(() => chain?.stop())

test(`${STEPS} steps of three users through the edge equal the model without caches`, {
  timeout: 300_000,
}, async () => {
  const { edge } = chain
  const tokens = Object.fromEntries(await Promise.all(USERS.map(async (name) => [name, await signIn(name)] as const)))
  const model = new Shop()
  const seed = Math.trunc(Math.random() * 2 ** 31)
  const steps = fc.sample(fc.oneof({ weight: 4, arbitrary: read }, { weight: 1, arbitrary: mutation }), {
    seed,
    numRuns: STEPS,
  })
  for (const [index, { path, call, user, model: answer }] of steps.entries()) {
    const where = `step ${index} of seed ${seed}: ${path ?? call?.[0]} by ${user}`
    if (call !== undefined) {
      const [fn, args] = call
      const { status, headers } = await edge.call(fn, args, tokens[user])
      expect([status, headers.get('X-Mizan-Purge')], where).toEqual([200, 'done'])
      answer(model)
    } else {
      const { text } = await edge.fetch(`/api/mizan/ctx/${path}`, { headers: bearer(tokens[user]) })
      expect(text, where).toBe(answer(model))
    }
  }
  expect(edge.cdn.hits).toBeGreaterThan(STEPS / 10)
  expect(edge.failures).toEqual([])
})
