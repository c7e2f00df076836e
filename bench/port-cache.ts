import { randomUUID } from 'node:crypto'
import type * as origins from '@mizan/cache/origin'
import type { Redis } from 'ioredis'
import { TTL } from './peers/peer.ts'
import { deriveCacheKey, type ParamValue } from './port.ts'

type Params = Record<string, ParamValue> | null
type Scope = origins.Scope | undefined

const LEASE_MS = 10_000

/**
 * What an origin needs of a cache, as one writes it by hand on the port of the key and ioredis. It is simpler than it
 * would have to be: a purge between the two commands of `put` is missed.
 */
export class PortCache implements origins.OriginCache {
  readonly #secret: string
  readonly #redis: Redis

  constructor(secret: string, redis: Redis) {
    this.#secret = secret
    this.#redis = redis
  }

  deriveKey(context: string, params: Params, scope?: Scope): string {
    return deriveCacheKey(this.#secret, context, params ?? {}, scope?.userId, scope?.rev)
  }

  peek(): null {
    return null
  }

  async lookup(context: string, params: Params, scope?: Scope): Promise<origins.LookupResult> {
    const key = this.deriveKey(context, params, scope)
    const value = await this.#redis.get(key)
    if (value !== null) return { value, lease: null, held: null }
    const lease = randomUUID()
    const held = await this.#redis.set(leaseOf(key), lease, 'PX', LEASE_MS, 'NX', 'GET')
    return held === null ? { value: null, lease, held: null } : { value: null, lease: null, held }
  }

  async put(
    context: string,
    params: Params,
    value: string,
    options: origins.Scope & { ttl?: number; lease?: string | null } = {},
  ): Promise<boolean> {
    const key = this.deriveKey(context, params, options)
    const { ttl = TTL, lease = null } = options
    if (lease !== null && (await this.#redis.get(leaseOf(key))) !== lease) return false
    await this.#redis.multi().set(key, value, 'EX', ttl).unlink(leaseOf(key)).exec()
    return true
  }

  async release(context: string, params: Params, _lease: string, scope?: Scope): Promise<boolean> {
    return (await this.#redis.unlink(leaseOf(this.deriveKey(context, params, scope)))) === 1
  }

  async purge(context: string, params: Params = null, scope?: Scope): Promise<number> {
    if (params !== null) {
      const key = this.deriveKey(context, params, scope)
      return await this.#redis.unlink(key, leaseOf(key))
    }
    let purged = 0
    for await (const keys of this.#redis.scanStream({ match: `*ctx:${context}:*` })) {
      if (keys.length > 0) purged += await this.#redis.unlink(...keys)
    }
    return purged
  }
}

function leaseOf(key: string): string {
  return `lease:${key}`
}
