/**
 * How racers read: as the package does it, and in ways that leave out one detail of `protocol.md` §5 at a time. These
 * are not options of the package: each is written here, over its public calls or over a client of its own.
 */

import { randomBytes } from 'node:crypto'
import { createClient } from '@redis/client'
import type { Cache } from '../../cache/index.ts'
import { getOrLoad } from '../../origin/index.ts'

export interface Row {
  readonly context: string
  readonly id: number
}

/** Reads an entry, and loads it if there is none. Null if the way does not load and there is none. */
export type Read = (row: Row, load: () => Promise<string>) => Promise<string | null>

/** The ways in which racers read, by name; each read takes one of them. */
export type Ways = Record<string, Read>

export const VARIANTS = {
  'as specified': asSpecified,
  'no leases': noLeases,
  'one token per process': oneTokenPerProcess,
  'join without the lease': joinWithoutTheLease,
} satisfies Record<string, (cache: Cache, redisUrl: string) => Ways | Promise<Ways>>

export type Variant = keyof typeof VARIANTS

export const CAUGHT_VARIANTS = ['no leases', 'one token per process', 'join without the lease'] as const

function asSpecified(cache: Cache): Ways {
  return {
    getOrLoad: ({ context, id }, load) => getOrLoad(cache, context, { id }, {}, load),
    'lookup and put': async ({ context, id }, load) => {
      const { value, lease } = await cache.lookup(context, { id })
      if (value !== null || lease === null) return value
      const loaded = await load()
      await cache.put(context, { id }, loaded, { lease })
      return loaded
    },
    get: ({ context, id }) => cache.get(context, { id }),
  }
}

function noLeases(cache: Cache): Ways {
  return {
    'get and put': async ({ context, id }, load) => {
      const value = await cache.get(context, { id })
      if (value !== null) return value
      const loaded = await load()
      await cache.put(context, { id }, loaded)
      return loaded
    },
  }
}

const LOOK_UP = `
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'string' then return value end
if not value then
  redis.call('HSET', KEYS[1], 'lease', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
return 0`

const FILL = `
if redis.pcall('HGET', KEYS[1], 'lease') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end`

/** The lease of the protocol, always with the same token. */
async function oneTokenPerProcess(cache: Cache, redisUrl: string): Promise<Ways> {
  const client = createClient({ url: redisUrl, RESP: 2 })
  await client.connect()
  const token = randomBytes(16).toString('hex')
  return {
    'scripts of its own': async ({ context, id }, load) => {
      const keys = [cache.deriveKey(context, { id })]
      const found = await client.eval(LOOK_UP, { keys, arguments: [token, '10000'] })
      if (found === 0) return null
      if (found !== 1) return String(found)
      const loaded = await load()
      await client.eval(FILL, { keys, arguments: [token, loaded, '86400000'] })
      return loaded
    },
  }
}

/** Loads are shared by key, as most caches do it, and stored with a lease. */
function joinWithoutTheLease(cache: Cache): Ways {
  const loading = new Map<string, Promise<string>>()
  return {
    'loads by key': async ({ context, id }, load) => {
      const { value, lease } = await cache.lookup(context, { id })
      if (value !== null) return value
      const key = cache.deriveKey(context, { id })
      const others = loading.get(key)
      if (others !== undefined) return others
      if (lease === null) return null
      const own = load().finally(() => loading.delete(key))
      loading.set(key, own)
      const loaded = await own
      await cache.put(context, { id }, loaded, { lease })
      return loaded
    },
  }
}
