/** What is cached: the versions of entries, on a Redis of its own that stands for the database. */

import { createClient } from '@redis/client'

export async function openSource(url: string) {
  const client = createClient({ url, RESP: 3, commandOptions: { timeout: 0 } })
  await client.connect()
  return {
    version: async (id: number): Promise<number> => Number((await client.get(`version:${id}`)) ?? 0),
    /** Commits a change, and resolves to the new version. */
    change: (id: number): Promise<number> => client.incr(`version:${id}`),
    close: () => client.close(),
  }
}
