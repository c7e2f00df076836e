/** What every program of this directory serves: books whose titles can be corrected. */

import { configureCache } from '@mizan/cache'
import { createOrigin } from '@mizan/cache/origin'
import { z } from 'zod'

const titles = new Map([
  [1, 'Notes on the Analytical Engine'],
  [2, 'Computing Machinery and Intelligence'],
])

export const origin = createOrigin({
  // MIZAN_CACHE_REDIS_URL puts the cache on Redis; without it, it is in memory. The secret comes from a configuration
  // in a real program, and all processes that share a Redis share it.
  cache: configureCache({ secret: process.env.MIZAN_CACHE_SECRET ?? 'only for these examples, not a secret' }),
})

origin.context('book', {
  params: z.object({ book_id: z.coerce.number().int() }),
  functions: { book_title: ({ book_id }) => titles.get(book_id) },
})

origin.mutation('correct_title', {
  args: z.object({ book_id: z.number().int(), title: z.string().min(1).max(200) }),
  affects: ['book'],
  run: ({ book_id, title }) => {
    titles.set(book_id, title)
  },
})
