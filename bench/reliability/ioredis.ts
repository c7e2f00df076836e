import { once } from 'node:events'
import { Cluster, Redis } from 'ioredis'
import { CONNECT_TIMEOUT_MS, hostAndPort, type PeerOptions, socketTimeout } from './peer.ts'

/** Connected, and with every bound on waiting that its documentation names. */
export async function connectIoredis(options: PeerOptions): Promise<Redis | Cluster> {
  const { redisUrl, cluster, commandTimeoutMs } = options
  const redisOptions = {
    commandTimeout: commandTimeoutMs,
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: socketTimeout(options),
    maxRetriesPerRequest: 1,
  }
  const redis =
    cluster === undefined
      ? new Redis(redisUrl ?? '', { ...redisOptions, enableOfflineQueue: false })
      : new Cluster(cluster.map(hostAndPort), { redisOptions })
  redis.on('error', () => {})
  await once(redis, 'ready')
  return redis
}

export async function forEachPrimary(redis: Redis | Cluster, work: (primary: Redis) => Promise<void>): Promise<void> {
  const primaries = redis instanceof Cluster ? redis.nodes('master') : [redis]
  await Promise.all(primaries.map(work))
}
