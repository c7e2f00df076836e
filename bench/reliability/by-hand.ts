/** The cache that one writes oneself on ioredis. */

import { connectIoredis, forEachPrimary } from './ioredis.ts'
import type { Open } from './peer.ts'

const TTL_SECONDS = 3_600

export const open: Open = async (options) => {
  const redis = await connectIoredis(options)
  const key = (name: string) => `${options.namespace}:${name}`
  return {
    getOrLoad: async (name, load) => {
      const found = await redis.get(key(name)).catch(() => null)
      if (found !== null) return found
      const loaded = await load()
      await redis.set(key(name), loaded, 'EX', TTL_SECONDS).catch(() => {})
      return loaded
    },
    purge: (name) => redis.del(key(name)),
    purgeAll: () =>
      forEachPrimary(redis, async (primary) => {
        for await (const keys of primary.scanStream({ match: `${options.namespace}:*`, count: 1_000 })) {
          await Promise.all((keys as string[]).map((each) => primary.unlink(each)))
        }
      }),
    close: async () => redis.disconnect(),
  }
}
