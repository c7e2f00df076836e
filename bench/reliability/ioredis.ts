import { Cluster, Redis } from 'ioredis'
import { COMMAND_TIMEOUT_MS, CONNECT_TIMEOUT_MS, hostAndPort, type PeerOptions } from './peer.ts'

/** With every bound on waiting that its documentation names. */
export function connectIoredis({ redisUrl, cluster }: PeerOptions): Redis | Cluster {
  const options = {
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectTimeout: CONNECT_TIMEOUT_MS,
    maxRetriesPerRequest: 1,
  }
  const redis =
    cluster === undefined
      ? new Redis(redisUrl ?? '', options)
      : new Cluster(cluster.map(hostAndPort), { redisOptions: options })
  redis.on('error', () => {})
  return redis
}

export async function forEachPrimary(redis: Redis | Cluster, work: (primary: Redis) => Promise<void>): Promise<void> {
  const primaries = redis instanceof Cluster ? redis.nodes('master') : [redis]
  await Promise.all(primaries.map(work))
}
