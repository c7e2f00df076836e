import { Cacheable } from 'cacheable'
import { openKeyv } from './keyv.ts'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const { tier, redisUrl } = options
  const primary = tier === 'redis' ? { primary: openKeyv({ tier, redisUrl }) } : {}
  const secondary = tier === 'both' ? { secondary: openKeyv({ tier: 'redis', redisUrl }) } : {}
  const cacheable = new Cacheable({ ...primary, ...secondary, ttl: TTL * 1_000, stats: false })
  return onStore(
    {
      get: (key) => cacheable.get<string>(key),
      set: (key, value) => cacheable.set(key, value),
      getOrLoad: async (key, load) => (await cacheable.getOrSet(key, load)) as string,
      delete: (key) => cacheable.delete(key),
      close: () => cacheable.disconnect(),
    },
    options,
  )
}
