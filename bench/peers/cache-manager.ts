import { createCache } from 'cache-manager'
import { openKeyv } from './keyv.ts'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const { tier, redisUrl } = options
  const tiers = tier === 'both' ? (['memory', 'redis'] as const) : [tier]
  const cache = createCache({ stores: tiers.map((each) => openKeyv({ tier: each, redisUrl })), ttl: TTL * 1_000 })
  return onStore(
    {
      get: (key) => cache.get<string>(key),
      set: (key, value) => cache.set(key, value),
      getOrLoad: (key, load) => cache.wrap(key, load),
      delete: (key) => cache.del(key),
      close: () => cache.disconnect(),
    },
    options,
  )
}
