/** What the benchmarks ask of a cache, whichever it is. */

import { keyOf } from '../entries.ts'

export interface PeerOptions {
  /** In this process's memory; on Redis; on Redis with copies in this process. */
  tier: 'memory' | 'redis' | 'both'
  redisUrl: string
  /** The number of Redis's process, where its processor time is measured too. */
  redisProcess?: number
  /** The nodes of a cluster, instead. */
  cluster?: string[]
  /** The context of the entries. Default `document`. */
  context?: string
  /** Whether a store's keys are derived in the measured time, or given to it ready-made, as by default. */
  derive?: boolean
  /** The bound of a memory, in bytes. Default half a gigabyte. */
  maxBytes?: number
}

/** A cache by the ids of entries. */
export interface Peer {
  /** Makes the key that is given ready-made. */
  prepare?(id: number): void
  /** A read that needs no promise, where there is one. */
  peek?(id: number): string | null | undefined
  get(id: number): Promise<string | null | undefined>
  set(id: number, value: string): Promise<unknown>
  /** Reads; on a miss loads and stores. */
  getOrLoad(id: number, load: () => Promise<string>): Promise<string>
  purge(id: number): Promise<unknown>
  /** Purges all of a context. */
  purgeContext?(context: string): Promise<unknown>
  /** Looks at every key there is, and does nothing. */
  scan?(): Promise<unknown>
  close(): Promise<unknown>
}

/** A store that knows nothing of entries, only of keys. */
export interface Store {
  peek?(key: string): string | null | undefined
  get(key: string): Promise<string | null | undefined>
  set(key: string, value: string): Promise<unknown>
  getOrLoad?(key: string, load: () => Promise<string>): Promise<string>
  delete(key: string): Promise<unknown>
  purgeContext?(context: string): Promise<unknown>
  scan?(): Promise<unknown>
  close(): Promise<unknown>
}

/** Seconds that an entry lives. */
export const TTL = 86_400

export const MAX_BYTES = 512 * 1024 * 1024

/** A store as a peer. */
export function onStore(store: Store, { context = 'document', derive = false }: PeerOptions): Peer {
  const keys: string[] = []
  const key = (id: number) => {
    if (derive) return keyOf(context, id)
    keys[id] ??= keyOf(context, id)
    return keys[id]
  }
  const { peek, purgeContext, scan } = store
  return {
    prepare: (id) => void key(id),
    ...(peek && { peek: (id) => peek(key(id)) }),
    // The store's own promise: one more around it takes node-redis 3 to 6 % of a read, and ours has none.
    get: (id) => store.get(key(id)),
    set: (id, value) => store.set(key(id), value),
    async getOrLoad(id, load) {
      if (store.getOrLoad !== undefined) return store.getOrLoad(key(id), load)
      const found = await store.get(key(id))
      if (typeof found === 'string') return found
      const value = await load()
      await store.set(key(id), value)
      return value
    },
    purge: (id) => store.delete(key(id)),
    ...(purgeContext && { purgeContext }),
    ...(scan && { scan }),
    close: () => store.close(),
  }
}
