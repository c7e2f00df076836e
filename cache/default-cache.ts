/** The process's default cache, for code that has no instance at hand. */

import { pick } from '../common/pick.ts'
import { type Cache, type CacheOptions, type PutOptions, type Scope, socketOptions, toCache } from './cache.ts'
import { Calls } from './calls.ts'
import type { Params } from './canonical.ts'
import { native } from './native.ts'

/** The calls of the default cache in this thread, as it was found last. */
let current: Calls | undefined

/** Looks the default up at every call: another thread may configure it. */
function currentCalls(): Calls {
  const id = native.currentId()
  if (current === undefined || current.operations.id !== id) {
    const [operations, tls] = native.currentDefault()
    current = new Calls(operations, { tls, credentials: undefined })
  }
  return current
}

const defaultCache = toCache(currentCalls)

/**
 * Sets the process's default cache and returns it. Its worker threads share it: where the options equal those of the
 * present default, this is the same cache; otherwise it replaces the default, and whoever holds the old one keeps it.
 * Closing it closes it for all of them. A thread has no function of another: with `credentials` each thread that uses the
 * default cache calls this itself.
 *
 * @param options - As for {@link Cache}. Without `redisUrl`, `cluster` and `sentinel`, `MIZAN_CACHE_REDIS_URL` is taken
 * from the environment if it is set; without `secret`, `MIZAN_CACHE_SECRET`.
 * @throws `ERR_MIZAN_SECRET` or `ERR_MIZAN_OPTION`, naming the option.
 */
export function configureCache(options: Partial<CacheOptions> = {}): Cache {
  const { MIZAN_CACHE_REDIS_URL, MIZAN_CACHE_SECRET } = pick(process.env, [
    'MIZAN_CACHE_REDIS_URL',
    'MIZAN_CACHE_SECRET',
  ])
  const found = native.configureDefault(options, MIZAN_CACHE_REDIS_URL || undefined, MIZAN_CACHE_SECRET || undefined)
  if (current?.operations.id === found.id) {
    // Functions are equal to no others: the newest is asked.
    current.connectBy(socketOptions(options))
  } else {
    current = new Calls(found, socketOptions(options))
  }
  const calls = current
  return toCache(() => calls)
}

/** {@link Cache.get} of the default cache. Rejects with `ERR_MIZAN_NOT_CONFIGURED` if there is none. */
export function cacheGet(context: string, params?: Params | null, scope?: Scope): Promise<string | null> {
  return defaultCache.get(context, params, scope)
}

/** {@link Cache.put} of the default cache. Rejects with `ERR_MIZAN_NOT_CONFIGURED` if there is none. */
export function cachePut(
  context: string,
  params: Params | null | undefined,
  value: string | Uint8Array,
  options?: PutOptions,
): Promise<boolean> {
  return defaultCache.put(context, params, value, options)
}

/** {@link Cache.purge} of the default cache. Rejects with `ERR_MIZAN_NOT_CONFIGURED` if there is none. */
export function cachePurge(context: string, params?: Params | null, scope?: Scope): Promise<number> {
  return defaultCache.purge(context, params, scope)
}
