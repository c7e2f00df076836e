import { createBlobStorage, defineCachedFunction } from 'ocache'
import { connectIoredis } from './ioredis.ts'
import type { Load, Open } from './peer.ts'

/** It has no call that deletes a whole namespace. */
export const open: Open = async (options) => {
  const redis = await connectIoredis(options)
  const storage = createBlobStorage({
    get: (key) => redis.getBuffer(key),
    set: async (key, value, { ttl = 3_600 } = {}) => {
      await (value === null ? redis.del(key) : redis.set(key, Buffer.from(value), 'EX', ttl))
    },
  })
  const cached = defineCachedFunction((_name: string, load: Load) => load(), {
    name: options.namespace,
    maxAge: 3_600,
    swr: false,
    getKey: (name) => name,
    storage,
    onError: () => {},
  })
  const unused: Load = async () => ''
  return {
    getOrLoad: (name, load) => cached(name, load),
    purge: (name) => cached.invalidate(name, unused),
    close: async () => redis.disconnect(),
  }
}
