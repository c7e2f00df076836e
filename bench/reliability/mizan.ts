import { Cache } from '@mizan/cache'
import { getOrLoad } from '@mizan/cache/origin'
import { CONNECT_TIMEOUT_MS, type Open } from './peer.ts'

export const open: Open = async ({ redisUrl, cluster, namespace, commandTimeoutMs }) => {
  const cache = new Cache({
    secret: 'a secret of the comparison, 32 bytes or more',
    redisUrl,
    cluster,
    local: false,
    commandTimeoutMs,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
  })
  return {
    getOrLoad: (name, load) => getOrLoad(cache, namespace, { name }, {}, load),
    purge: (name) => cache.purge(namespace, { name }),
    purgeAll: () => cache.purge(namespace),
    close: () => cache.close(),
  }
}
