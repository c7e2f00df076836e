/** The shop of `examples/origin` behind the Worker. */

import { afterAll, beforeAll, expect, test } from 'vitest'
import { openDatabase } from '../../examples/origin/database.mjs'
import { createShop } from '../../examples/origin/shop.mjs'
import { type Chain, startChain } from './support/chain.ts'
import { bearer, signIn } from './support/edge.ts'

const database = openDatabase()

let chain: Chain
let ada: string
let grace: string

beforeAll(async () => {
  chain = await startChain((cache, authenticate) => createShop(cache, database, authenticate))
  ada = await signIn('ada')
  grace = await signIn('grace')
})

afterAll(async () => {
  await chain?.stop()
  database.close()
})

async function read(context: string, token?: string) {
  const { text, headers } = await chain.edge.fetch(`/api/mizan/ctx/${context}`, { headers: bearer(token) })
  return { bundle: JSON.parse(text), outcome: headers.get('Cache-Status')?.split('mizan-edge; ').at(-1) }
}

test('an order is in the best sellers and in the orders of who made it, of nobody else', async () => {
  const before = (await read('best_sellers/')).bundle.best_sellers
  expect((await read('best_sellers/')).outcome).toBe('hit')
  for (const token of [ada, grace]) {
    expect(await read('orders/', token)).toEqual({ bundle: { orders: [] }, outcome: 'fwd=miss' })
    expect((await read('orders/', token)).outcome).toBe('hit')
  }
  const { headers } = await chain.edge.call('order', { book_id: 1 }, ada)
  expect(headers.get('X-Mizan-Purge')).toBe('done')

  const after = await read('best_sellers/')
  expect(after.outcome).toBe('fwd=miss')
  const copies = (list: { copies: number }[]) => list.reduce((sum, book) => sum + book.copies, 0)
  expect(copies(after.bundle.best_sellers)).toBe(copies(before) + 1)
  expect((await read('orders/', ada)).bundle.orders).toEqual([{ title: 'Notes on the Analytical Engine', copies: 1 }])
  expect((await read('orders/', grace)).bundle.orders).toEqual([])
})

test('a review is on the page of its book, and the other books stay cached', async () => {
  for (const id of [2, 3]) await read(`book/?book_id=${id}`)
  await chain.edge.call('review', { book_id: 2, text: 'Thinking still.' }, grace)
  const page = await read('book/?book_id=2')
  expect(page.outcome).toBe('fwd=miss')
  expect(page.bundle.reviews).toContainEqual({ name: 'Grace', text: 'Thinking still.' })
  expect((await read('book/?book_id=3')).outcome).toBe('hit')
})

test('a visitor cannot choose to be somebody', async () => {
  const { status } = await chain.edge.fetch('/api/mizan/ctx/orders/', { headers: { 'X-Shop-User': 'ada' } })
  expect(status).toBe(401)
})
