import { BentoCache, bentostore } from 'bentocache'
import { redisDriver } from 'bentocache/drivers/redis'
import type { Redis } from 'ioredis'
import { connectIoredis } from './ioredis.ts'
import type { Open } from './peer.ts'

export const open: Open = async (options) => {
  const connection = await connectIoredis(options)
  const store = bentostore().useL2Layer(redisDriver({ connection: connection as Redis }))
  const bento = new BentoCache({
    default: 'store',
    ttl: '1h',
    l2CircuitBreakerDuration: '5s',
    stores: { store },
  })
  const cache = bento.namespace(options.namespace)
  return {
    getOrLoad: (key, factory) => cache.getOrSet({ key, factory }),
    purge: (key) => cache.delete({ key }),
    purgeAll: () => cache.clear(),
    close: async () => connection.disconnect(),
  }
}
