import { BentoCache, bentostore } from 'bentocache'
import { memoryDriver } from 'bentocache/drivers/memory'
import { redisBusDriver, redisDriver } from 'bentocache/drivers/redis'
import { Redis } from 'ioredis'
import { MAX_BYTES, onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const { tier, redisUrl, maxBytes = MAX_BYTES } = options
  const connect = () => new Redis(redisUrl, { enableAutoPipelining: true })
  const store = bentostore()
  if (tier !== 'redis') store.useL1Layer(memoryDriver({ maxSize: maxBytes, serialize: false }))
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
