import KeyvRedis from '@keyv/redis'
import { Keyv } from 'keyv'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

/** Its store of that tier. In memory nothing need be serialized. */
export function openKeyv({ tier, redisUrl }: Pick<PeerOptions, 'tier' | 'redisUrl'>): Keyv {
  if (tier === 'redis') return new Keyv(new KeyvRedis(redisUrl, { useUnlink: true }), { useKeyPrefix: false })
  const keyv = new Keyv({ useKeyPrefix: false })
  keyv.serialize = undefined
  keyv.deserialize = undefined
  return keyv
}

export async function open(options: PeerOptions): Promise<Peer> {
  const keyv = openKeyv(options)
  return onStore(
    {
      get: (key) => keyv.get<string>(key),
      set: (key, value) => keyv.set(key, value, TTL * 1_000),
      delete: (key) => keyv.delete(key),
      close: () => keyv.disconnect(),
    },
    options,
  )
}
