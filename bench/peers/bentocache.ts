import { BentoCache, bentostore } from 'bentocache'
import { memoryDriver } from 'bentocache/drivers/memory'
import { redisBusDriver, redisDriver } from 'bentocache/drivers/redis'
import { Redis } from 'ioredis'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

/** A bound in bytes would need serialized values, which take longer. */
const MAX_ITEMS = 1_000_000

export async function open(options: PeerOptions): Promise<Peer> {
  const { tier, redisUrl } = options
  const connect = () => new Redis(redisUrl, { enableAutoPipelining: true })
  const store = bentostore()
  // Values that are not serialized are faster, but 1.6.1 fails on them with two tiers.
  if (tier !== 'redis') store.useL1Layer(memoryDriver({ maxItems: MAX_ITEMS, serialize: tier === 'both' }))
  if (tier !== 'memory') store.useL2Layer(redisDriver({ connection: connect() }))
  if (tier === 'both') store.useBus(redisBusDriver({ connection: connect() }))
  const bento = new BentoCache({ default: 'store', ttl: TTL * 1_000, stores: { store } })
  return onStore(
    {
      get: (key) => bento.get<string>({ key }),
      set: (key, value) => bento.set({ key, value }),
      getOrLoad: (key, load) => bento.getOrSet({ key, factory: load }),
      delete: (key) => bento.delete({ key }),
      close: () => bento.disconnectAll(),
    },
    options,
  )
}
