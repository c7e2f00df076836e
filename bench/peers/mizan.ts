import type * as addon from '@mizan/cache'
import { Cache } from '../built.ts'
import { parametersOf, SECRET } from '../entries.ts'
import { MAX_BYTES, type Peer, type PeerOptions } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const { tier, redisUrl, cluster, context = 'document', maxBytes = MAX_BYTES } = options
  const backend = {
    memory: { maxBytes },
    redis: { ...(cluster ? { cluster } : { redisUrl }), local: false },
    both: { redisUrl, local: { maxBytes } },
  }
  // So that a busy machine makes a slow read of it, as with the peers, and not a miss.
  const commandTimeoutMs = 10_000
  const cache = new Cache({ secret: SECRET, commandTimeoutMs, ...(backend[tier] as Partial<addon.CacheOptions>) })
  return {
    peek: (id) => cache.peek(context, parametersOf(id)),
    get: (id) => cache.get(context, parametersOf(id)),
    set: (id, value) => cache.put(context, parametersOf(id), value),
    async getOrLoad(id, load) {
      const params = parametersOf(id)
      const { value, lease } = await cache.lookup(context, params)
      if (value !== null) return value
      const loaded = await load()
      if (lease !== null) await cache.put(context, params, loaded, { lease })
      return loaded
    },
    purge: (id) => cache.purge(context, parametersOf(id)),
    purgeContext: (name) => cache.purge(name),
    close: () => cache.close(),
  }
}
