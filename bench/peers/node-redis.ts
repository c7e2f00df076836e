import { createClient } from '@redis/client'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const client = createClient({
    url: options.redisUrl,
    RESP: 3,
    // Its timer for each command, which is on by default, is most of what a command costs.
    commandOptions: { timeout: 0 },
    ...(options.tier === 'both' && { clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: 'LRU' } }),
  })
  client.on('error', () => {})
  await client.connect()

  async function eachPage(match: string | undefined, act: (keys: string[]) => Promise<unknown>): Promise<void> {
    let cursor = '0'
    do {
      const page = await client.scan(cursor, { COUNT: 1_000, ...(match !== undefined && { MATCH: match }) })
      cursor = page.cursor
      if (page.keys.length > 0) await act(page.keys)
    } while (cursor !== '0')
  }

  return onStore(
    {
      get: (key) => client.get(key),
      set: (key, value) => client.set(key, value, { expiration: { type: 'EX', value: TTL } }),
      delete: (key) => client.unlink(key),
      purgeContext: (context) => eachPage(`ctx:${context}:*`, (keys) => client.unlink(keys)),
      scan: () => eachPage(undefined, async () => {}),
      close: () => client.close(),
    },
    options,
  )
}
