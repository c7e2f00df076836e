import {
  Cache,
  type CacheOptions,
  type CacheStats,
  cacheGet,
  cachePurge,
  cachePut,
  configureCache,
  deriveCacheKey,
  type LogEntry,
  type Lookup,
  onLog,
  type Params,
  type ParamValue,
  type PutOptions,
  type Scope,
} from '@mizan/cache'

const options: CacheOptions = { secret: new Uint8Array(32).fill(7), ttl: 60, local: false }
const params: Params = { id: 5, tags: ['a', null, true, 2n], nested: { deep: 1.5 } }
const scope: Scope = { userId: 9n, rev: 2 }
const stored: PutOptions = { ...scope, ttl: 60, lease: null }
const values: ParamValue[] = Object.values(params)

const cache: Cache = new Cache(options)
const key: string = deriveCacheKey(options.secret, 'user', params, scope.userId, scope.rev)
if (key !== cache.deriveKey('user', params, scope) || values.length !== 3) {
  throw new Error('the two ways to a key differ')
}
const lookup: Lookup = await cache.lookup('user', params, scope)
const wasStored: boolean = await cache.put('user', params, 'Ada', { ...stored, lease: lookup.lease })
const text: string | null = await cache.get('user', params, scope)
const bytes: Uint8Array | null = await cache.getBytes('user', params, scope)
const purged: number = await cache.purge('user', params, scope)
const stats: CacheStats = cache.stats()
if (!wasStored || text !== 'Ada' || bytes?.length !== 3 || purged !== 1 || stats.hits !== 2) {
  throw new Error('the cache does not do what its types say')
}
await cache.close()

const entries: LogEntry[] = []
const stopLogging: () => void = onLog((entry: LogEntry) => entries.push(entry))
stopLogging()

const configured: Cache = configureCache(options)
await cachePut('user', {}, 'Grace', { ttl: 60 })
const found: string | null = await cacheGet('user', {})
const gone: number = await cachePurge('user', {})
if (found !== 'Grace' || gone !== 1) {
  throw new Error('the default cache does not do what its types say')
}
await configured.close()

// @ts-expect-error: undefined is no parameter
export const refusedParams: Params = { id: undefined }
// @ts-expect-error: there is no option of this name
export const refusedOptions: CacheOptions = { secret: 'x', timeToLive: 1 }
// @ts-expect-error: the secret is not left out
export const refusedConstruction = () => new Cache({})
