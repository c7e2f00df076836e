import { Cacheable } from 'cacheable'
import Keyv from 'keyv'
import { redisStore } from './keyv.ts'
import type { Open } from './peer.ts'

export const open: Open = async (options) => {
  const keyv = new Keyv({ store: redisStore(options), namespace: options.namespace })
  const cache = new Cacheable({ primary: keyv, namespace: options.namespace, ttl: '1h' })
  keyv.on('error', () => {})
  cache.on('error', () => {})
  return {
    getOrLoad: async (name, load) => (await cache.getOrSet<string>(name, load)) ?? '',
    purge: (name) => cache.delete(name),
    purgeAll: () => cache.clear(),
    close: () => cache.disconnect(),
  }
}
