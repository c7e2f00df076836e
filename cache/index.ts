/**
 * The Mizan cache: keys that every implementation derives alike, values in memory or on Redis, purges that no slow
 * reader undoes.
 *
 * @packageDocumentation
 */

export {
  Cache,
  type CacheOptions,
  type CacheStats,
  type Histogram,
  type LocalOptions,
  type Lookup,
  type PutOptions,
  type Scope,
  type SentinelOptions,
} from './cache.ts'
export type { Params, ParamValue } from './canonical.ts'
export { cacheGet, cachePurge, cachePut, configureCache } from './default-cache.ts'
export { deriveCacheKey } from './derive.ts'
export {
  type CircuitMessage,
  type ConnectionFailure,
  type ConnectionMessage,
  type ErrorMessage,
  type FailureReason,
  type GetMessage,
  type LogEntry,
  onLog,
  type PendingPurgesMessage,
  type PurgeMessage,
  type PutMessage,
} from './diagnostics.ts'
export type { Credentials, TlsOptions } from './sockets.ts'
