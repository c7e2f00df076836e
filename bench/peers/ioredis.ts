import { Redis } from 'ioredis'
import { onStore, type Peer, type PeerOptions, TTL } from './peer.ts'

/** What its fork iovalkey has too. */
interface Client {
  get(key: string): Promise<string | null>
  set(key: string, value: string, unit: 'EX', seconds: number): Promise<unknown>
  unlink(key: string): Promise<unknown>
  quit(): Promise<unknown>
}

/** The faster of their ways: the commands of one tick travel together. */
export const FASTEST = { enableAutoPipelining: true }

export async function open(options: PeerOptions): Promise<Peer> {
  return onClient(new Redis(options.redisUrl, FASTEST), options)
}

export function onClient(redis: Client, options: PeerOptions): Peer {
  return onStore(
    {
      get: (key) => redis.get(key),
      set: (key, value) => redis.set(key, value, 'EX', TTL),
      delete: (key) => redis.unlink(key),
      close: () => redis.quit(),
    },
    options,
  )
}
