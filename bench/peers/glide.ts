import { GlideClient, TimeUnit } from '@valkey/valkey-glide'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const { hostname: host, port, pathname } = new URL(options.redisUrl)
  const client = await GlideClient.createClient({
    addresses: [{ host, port: Number(port) }],
    databaseId: Number(pathname.slice(1)),
    requestTimeout: 10_000,
    inflightRequestsLimit: 10_000,
  })
  return onStore(
    {
      get: (key) => client.get(key) as Promise<string | null>,
      set: (key, value) => client.set(key, value, { expiry: { type: TimeUnit.Seconds, count: TTL } }),
      delete: (key) => client.unlink([key]),
      close: async () => client.close(),
    },
    options,
  )
}
