import { Redis } from 'iovalkey'
import { FASTEST, onClient } from './ioredis.ts'
import type { Peer, PeerOptions } from './peer.ts'

export async function open(options: PeerOptions): Promise<Peer> {
  return onClient(new Redis(options.redisUrl, FASTEST), options)
}
