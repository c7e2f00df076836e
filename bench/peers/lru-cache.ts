import { LRUCache } from 'lru-cache'
import { MAX_BYTES, onStore, type Peer, type PeerOptions } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const { maxBytes: maxSize = MAX_BYTES } = options
  const cache = new LRUCache<string, string>({ maxSize, sizeCalculation: (value, key) => value.length + key.length })
  return onStore(
    {
      peek: (key) => cache.get(key),
      get: async (key) => cache.get(key),
      set: async (key, value) => cache.set(key, value),
      delete: async (key) => cache.delete(key),
      close: async () => cache.clear(),
    },
    options,
  )
}
