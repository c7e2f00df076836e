/** A book shop as an origin: what it reads, what it changes, and which reads each change makes old. */

import { createOrigin, HttpError } from '@mizan/cache/origin'
import { z } from 'zod'

/** @typedef {import('@mizan/cache/origin').RequestHead} RequestHead */

/**
 * @param {import('@mizan/cache/origin').OriginCache} cache
 * @param {import('node-sqlite3-wasm').Database} database
 * @param {(request: RequestHead) => Promise<{ id: string } | null>} [authenticate] by default the visitor chooses who to
 *   be; a real shop would ask for more than a name
 */
export function createShop(cache, database, authenticate = chosenUser(database)) {
  const origin = createOrigin({ cache, authenticate })

  // Public contexts: everybody reads the same entries.

  origin.context('best_sellers', {
    functions: {
      best_sellers: () =>
        database.all(
          'SELECT title, count(*) AS copies FROM sales JOIN books USING (book_id) GROUP BY book_id ORDER BY copies DESC',
        ),
    },
  })

  origin.context('book', {
    params: z.object({ book_id: z.coerce.number().int() }),
    functions: {
      book: ({ book_id }) => findBook(book_id),
      reviews: ({ book_id }) =>
        database.all(
          'SELECT name, text FROM reviews JOIN users USING (user_id) WHERE book_id = ? ORDER BY review_id',
          book_id,
        ),
    },
  })

  // Contexts with `auth`: every user has entries of their own, and their functions know who asks.

  origin.context('profile', {
    auth: true,
    functions: {
      profile: (_params, { identity }) => database.get('SELECT name FROM users WHERE user_id = ?', identity.id),
    },
  })

  origin.context('orders', {
    auth: true,
    functions: {
      orders: (_params, { identity }) =>
        database.all(
          'SELECT title, count(*) AS copies FROM sales JOIN books USING (book_id) WHERE user_id = ? GROUP BY book_id',
          identity.id,
        ),
    },
  })

  // Mutations say what they affect. What is purged is as little as is certain to cover it.

  origin.mutation('order', {
    auth: true,
    args: z.object({ book_id: z.number().int() }),
    // The best sellers, and the orders of whoever calls; nobody else's.
    affects: ['best_sellers', { context: 'orders', user: 'self' }],
    run: ({ book_id }, { identity }) => {
      findBook(book_id)
      database.run('INSERT INTO sales (book_id, user_id) VALUES (?, ?)', [book_id, identity.id])
    },
  })

  origin.mutation('review', {
    auth: true,
    args: z.object({ book_id: z.number().int(), text: z.string().trim().min(1).max(200) }),
    // A function stands for its context, and the argument `book_id` for the parameter: one book.
    affects: ['reviews'],
    run: ({ book_id, text }, { identity }) => {
      findBook(book_id)
      database.run('INSERT INTO reviews (book_id, user_id, text) VALUES (?, ?, ?)', [book_id, identity.id, text])
    },
  })

  origin.mutation('rename', {
    auth: true,
    args: z.object({ name: z.string().trim().min(1).max(40) }),
    // Reviews show names, and no argument says of which books: all of them.
    affects: [{ context: 'profile', user: 'self' }, 'book'],
    run: ({ name }, { identity }) => {
      database.run('UPDATE users SET name = ? WHERE user_id = ?', [name, identity.id])
    },
  })

  /** @param {number} id */
  function findBook(id) {
    const book = database.get('SELECT book_id, title, author FROM books WHERE book_id = ?', id)
    if (book === null) throw new HttpError(404, 'unknown_book', 'There is no such book.')
    return book
  }

  return origin
}

/**
 * @param {import('node-sqlite3-wasm').Database} database
 * @returns {(request: RequestHead) => Promise<{ id: string } | null>}
 */
function chosenUser(database) {
  return async ({ headers }) => {
    const id = headers.get('x-shop-user') ?? ''
    return database.get('SELECT 1 FROM users WHERE user_id = ?', id) === null ? null : { id }
  }
}
