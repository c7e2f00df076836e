import { Cluster } from 'ioredis'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const cluster = new Cluster(options.cluster ?? [], { enableAutoPipelining: true })
  cluster.on('error', () => {})
  return onStore(
    {
      get: (key) => cluster.get(key),
      set: (key, value) => cluster.set(key, value, 'EX', TTL),
      delete: (key) => cluster.unlink(key),
      close: async () => cluster.disconnect(),
    },
    options,
  )
}
