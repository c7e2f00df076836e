import { createCluster } from '@redis/client'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  const client = createCluster({
    rootNodes: (options.cluster ?? []).map((url) => ({ url })),
    RESP: 3,
    // As with one server: its timer for each command is most of what a command costs.
    commandOptions: { timeout: 0 },
  })
  client.on('error', () => {})
  await client.connect()
  return onStore(
    {
      get: (key) => client.get(key),
      set: (key, value) => client.set(key, value, { expiration: { type: 'EX', value: TTL } }),
      delete: (key) => client.unlink(key),
      close: () => client.close(),
    },
    options,
  )
}
