/** A cache and its options. */

import { BareObject } from '../common/bare-object.ts'
import { pick } from '../common/pick.ts'
import { Calls } from './calls.ts'
import { canonicalForm, type Params } from './canonical.ts'
import { gets, publishEnd, publishPeek, publishRead, purges, puts } from './diagnostics.ts'
import { codedError } from './errors.ts'
import { native } from './native.ts'
import { nearest } from './nearest.ts'
import type { Credentials, SocketOptions, TlsOptions } from './sockets.ts'

/** Whose entry it is, and of which revision. */
export interface Scope {
  /** A string or an integer; `undefined` and `null`, the default, mean nobody's. `''` and `0` are ids like any other. */
  userId?: string | number | bigint | null | undefined
  /** An integer from 0, the default, to 2^53 − 1. Another revision is another entry. */
  rev?: number | undefined
}

/** How a value is stored. */
export interface PutOptions extends Scope {
  /**
   * Seconds that the value may be served, more than 0 and at most 315,360,000 (ten years); kept exactly. The default is
   * the `ttl` of the cache, spread by ± 10 %.
   */
  ttl?: number | undefined
  /** The lease that a lookup gave: the value is stored only while it stands. `null`, the default, stores in any case. */
  lease?: string | null | undefined
}

/** What a lookup found: exactly one member is not null, or none when Redis cannot be had. */
export interface Lookup {
  /** The stored value. */
  value: string | null
  /** The lease that this lookup took: whoever holds it loads the value and stores it with the lease. */
  lease: string | null
  /** The lease that another lookup holds at present. */
  held: string | null
}

/** How a Redis primary is found through its sentinels. */
export interface SentinelOptions {
  /** URLs of the sentinels, `redis://` or `rediss://`. */
  urls: string[]
  /** The name under which they know the primary. */
  name: string
  /** The user at the primary. */
  username?: string | undefined
  /** The password at the primary. */
  password?: string | undefined
  /** The database at the primary; 0 by default. */
  database?: number | undefined
  /** Whether the primary is reached by TLS; `false` by default. */
  tls?: boolean | undefined
}

/** How copies of what is in Redis are kept. */
export interface LocalOptions {
  /** The bound in bytes; 33,554,432 (32 MiB) by default. */
  maxBytes?: number | undefined
}

/** The options of a cache. All are checked when it is made; an unknown one is an error. */
export interface CacheOptions {
  /** What keys are signed with: text, taken as its UTF-8, or bytes; at least 32 bytes. */
  secret: string | Uint8Array
  /** Secrets that other processes may still use: scoped purges delete under each. None by default. */
  previousSecrets?: (string | Uint8Array)[] | undefined
  /**
   * One Redis: `redis://`, `rediss://` (TLS) or `unix://`. `/2` or `?db=2` is database 2; any other query is an error, and
   * so is a user without a password. Without this, `cluster` and `sentinel`: in memory.
   */
  redisUrl?: string | undefined
  /** A Redis Cluster: URLs of some of its nodes. One address of a cluster can also be `redisUrl`. */
  cluster?: string[] | undefined
  /** A Redis primary that sentinels watch. */
  sentinel?: SentinelOptions | undefined
  /** How TLS connections are made, as `node:tls` takes it; the system's authorities and no certificate by default. */
  tls?: TlsOptions | undefined
  /**
   * Who asks: called for each connection, for passwords that expire. A URL must then name none. What it throws, or gives
   * that is no password, fails that attempt to connect. Of the default cache each thread asks its own function, which it
   * gave to {@link configureCache}.
   */
  credentials?: (() => Credentials | Promise<Credentials>) | undefined
  /** Seconds that a value may be served, spread by ± 10 %; 86,400 (a day) by default, at most 315,360,000. */
  ttl?: number | undefined
  /** Milliseconds that a lease is held; 10,000 by default, 1 to 600,000. */
  leaseMs?: number | undefined
  /**
   * Copies in this process's own memory of what it read from Redis, which Redis says when to drop; the most recently
   * used, up to `maxBytes`, 33,554,432 (32 MiB) by default, which the threads of the process share out. `false` holds none.
   */
  local?: LocalOptions | false | undefined
  /** The bound in bytes when entries are in memory; 67,108,864 (64 MiB) by default. */
  maxBytes?: number | undefined
  /** The largest value in bytes; a larger one is not stored, and what stood in its place goes. 8,388,608 (8 MiB) by default. */
  maxValueBytes?: number | undefined
  /** Milliseconds from a call to its answer on Redis; 500 by default, 1 to 600,000. */
  commandTimeoutMs?: number | undefined
  /** Milliseconds for one attempt to connect; 2,000 by default, 1 to 600,000. */
  connectTimeoutMs?: number | undefined
  /** Calls in flight on Redis; beyond it reads miss, writes are dropped and purges pend. 10,000 by default. */
  maxInFlight?: number | undefined
}

/** Counters since the cache was made, and sizes of this moment. */
export interface CacheStats {
  /** Reads that found a value. */
  hits: number
  /** Hits among them on copies in this process of what is in Redis. */
  localHits: number
  /** Reads that found none, for whatever reason; `peek` is not counted where it finds none. */
  misses: number
  /** Values stored. */
  stores: number
  /** Values not stored: the lease no longer stood, the value was too large, or Redis was not to be had. */
  refusedStores: number
  /** Purges asked for. */
  purges: number
  /** Entries that purges deleted, leases included. */
  purgedEntries: number
  /** Reads that Redis did not answer, or answered with an error; counted as misses too. */
  failedReads: number
  /** Writes that Redis did not answer, or answered with an error; counted as refused stores too. */
  failedWrites: number
  /** Purges that could not be done at once and became pending. */
  deferredPurges: number
  /** Pending purges: Redis does not have them yet. After `close`, those that could not be delivered. */
  pendingPurges: number
  /** Calls that ran into their deadline. */
  timeouts: number
  /** Connections made again after one was lost. */
  reconnects: number
  /** Calls in flight on Redis. */
  inFlight: number
  /** Entries in memory, leases included; on Redis the copies in this process. */
  entries: number
  /** Bytes in memory, or of copies, by the measure of `maxBytes`. */
  bytes: number
  /**
   * Whether this thread asks Redis: `idle` before the first call, `connecting` during it, `closed` while connected, `open`
   * while calls return at once because there is no connection. `null` in memory.
   */
  circuit: 'idle' | 'connecting' | 'closed' | 'open' | null
  /**
   * How long calls took that Redis was asked for, those that failed included: from call to answer, or to the deadline.
   * A hit in memory or on a copy in this process is none of them.
   */
  latency: { read: Histogram; write: Histogram; purge: Histogram }
}

/** A histogram with explicit bounds, as OpenTelemetry defines it; times in milliseconds. */
export interface Histogram {
  /** How many calls there were. */
  count: number
  /** How long they took together. */
  sum: number
  /** The upper bounds of all buckets but the last; each belongs to its bucket. */
  bounds: number[]
  /** How many calls fell into each bucket: one more than there are bounds. */
  counts: number[]
}

/** The calls of caches that exist already, by what `toCache` constructs their `Cache` with. */
const opened = new WeakMap<object, () => Calls>()

/**
 * A cache, in memory or on Redis.
 *
 * Arguments of a wrong type or without a canonical form throw at once: an `Error` with a `code` (`ERR_MIZAN_…`) and a
 * message that names the place, as `params.user.id`, and never a value. Trouble with Redis is no error: a read is a
 * miss, a write is `false`, a purge is pending and retried. After `close`, every promise is rejected with
 * `ERR_MIZAN_CLOSED`. Calls in flight keep the process alive, at most until their deadline; the cache itself does not.
 */
export class Cache {
  /** The calls of this thread. Throws where the process has no default cache, for which this stands. */
  readonly #calls: () => Calls

  /**
   * Makes a cache, without any I/O: it connects on its first use, in the background.
   *
   * @throws `ERR_MIZAN_SECRET` or `ERR_MIZAN_OPTION`, naming the option.
   */
  constructor(options: CacheOptions) {
    const known = opened.get(options)
    if (known !== undefined) {
      this.#calls = known
      return
    }
    const calls = new Calls(native.openCache(options), socketOptions(options))
    this.#calls = () => calls
  }

  /** The calls behind `this`, which is anything where a method was taken off its cache. */
  static #of(cache: Cache): () => Calls {
    if (typeof cache === 'object' && cache !== null && #calls in cache) {
      return cache.#calls
    }
    throw codedError('ERR_MIZAN_OPTION', 'this is not a Cache: call the method on the cache that it belongs to')
  }

  /** Makes a call; where there is no default cache, a promise that is rejected. */
  static #call<T>(calls: () => Calls, call: (calls: Calls) => Promise<T>): Promise<T> {
    let found: Calls
    try {
      found = calls()
    } catch (error) {
      return Promise.reject(error)
    }
    return call(found)
  }

  /** The key of a call, as {@link deriveCacheKey} derives it with the secret of this cache. */
  deriveKey(context: string, params?: Params | null, scope?: Scope): string {
    const calls = Cache.#of(this)
    return calls().operations.key(writeCall(context, params, scope))
  }

  /**
   * The value, if it or a copy of it is in this process's memory; never a round trip. Texts from 4 KiB on are made once
   * and kept for the next hits, up to 8,388,608 characters for each `Cache` in each thread, besides what the cache holds.
   */
  peek(context: string, params?: Params | null, scope?: Scope): string | null {
    const calls = Cache.#of(this)
    const canonical = writeCall(context, params, scope)
    let found: Calls
    try {
      found = calls()
    } catch {
      // The read that follows tells that there is no cache.
      return null
    }
    const peek = () => found.texts.textOf(found.operations.peek(canonical))
    return gets.hasSubscribers ? publishPeek(peek, context) : peek()
  }

  /**
   * The value as text, or `null`; takes no lease. Rejects with `ERR_MIZAN_VALUE_ENCODING` if the stored bytes are not
   * UTF-8.
   */
  get(context: string, params?: Params | null, scope?: Scope): Promise<string | null> {
    const calls = Cache.#of(this)
    const canonical = writeCall(context, params, scope)
    const read = () => Cache.#call(calls, (found) => found.get(canonical))
    return gets.hasSubscribers ? publishRead(read, 'get', context) : read()
  }

  /** The value as bytes of its own, or `null`; takes no lease. */
  getBytes(context: string, params?: Params | null, scope?: Scope): Promise<Uint8Array | null> {
    const calls = Cache.#of(this)
    const canonical = writeCall(context, params, scope)
    const read = () => Cache.#call(calls, (found) => found.getBytes(canonical))
    return gets.hasSubscribers ? publishRead(read, 'getBytes', context) : read()
  }

  /**
   * The value; or, on a miss, a lease to store it with, or the lease that another holds. A purge in between revokes the
   * lease, so that a value read before the purge is never stored after it.
   */
  lookup(context: string, params?: Params | null, scope?: Scope): Promise<Lookup> {
    const calls = Cache.#of(this)
    const canonical = writeCall(context, params, scope)
    const read = () => Cache.#call(calls, (found) => found.lookup(canonical))
    return gets.hasSubscribers ? publishRead(read, 'lookup', context) : read()
  }

  /**
   * Stores a value: text, or bytes, which are copied before this returns.
   *
   * @returns Whether it was stored: not if its lease no longer stands, if it is larger than `maxValueBytes`, or if Redis
   * cannot be had.
   * @throws `ERR_MIZAN_VALUE`, `ERR_MIZAN_TTL`, `ERR_MIZAN_LEASE` or `ERR_MIZAN_OPTION`, besides what a call throws.
   */
  put(
    context: string,
    params: Params | null | undefined,
    value: string | Uint8Array,
    options?: PutOptions,
  ): Promise<boolean> {
    const calls = Cache.#of(this)
    const { userId, rev, ttl, lease } = readOptions('options', options, PUT_NAMES)
    const canonical = canonicalForm(context, params, userId, rev)
    const put = () => Cache.#call(calls, (found) => found.put(canonical, value, ttl, lease))
    return puts.hasSubscribers ? publishEnd(puts, { operation: 'put', context }, put, storedOrRefused) : put()
  }

  /**
   * Gives a lease back whose load failed, so that nobody waits for it: the key is deleted only while just this lease
   * stands there. It is no purge, counts as none, and never touches a value.
   *
   * @returns Whether the lease stood.
   * @throws `ERR_MIZAN_LEASE` if it is no token that a lookup gave, besides what a call throws.
   */
  release(context: string, params: Params | null | undefined, lease: string, scope?: Scope): Promise<boolean> {
    const calls = Cache.#of(this)
    const canonical = writeCall(context, params, scope)
    return Cache.#call(calls, (found) => found.release(canonical, lease))
  }

  /**
   * Deletes what a mutation changed. With `params`, `{}` included: the one entry of that call, under every secret. With
   * `undefined` or `null`: all entries of the context, of all users and revisions; a scope is then checked, but has no
   * effect. Revokes the leases of what it deletes.
   *
   * @returns How many entries went, leases included; 0 also where the purge is pending because Redis cannot be had.
   */
  purge(context: string, params?: Params | null, scope?: Scope): Promise<number> {
    const calls = Cache.#of(this)
    const canonical = writeCall(context, params, scope)
    const isBroad = params === undefined || params === null
    const purge = () =>
      Cache.#call(calls, (found) => (isBroad ? found.purgeContext(context) : found.purgeEntry(canonical)))
    return purges.hasSubscribers
      ? publishEnd(purges, { operation: 'purge', context, scope: isBroad ? 'context' : 'entry' }, purge, purged)
      : purge()
  }

  /** Deletes all entries of this protocol, of every context, and nothing else; returns how many went. */
  clear(): Promise<number> {
    const calls = Cache.#of(this)
    const clear = () => Cache.#call(calls, (found) => found.clear())
    return purges.hasSubscribers
      ? publishEnd(purges, { operation: 'clear', context: null, scope: 'everything' }, clear, purged)
      : clear()
  }

  /** The counters and sizes of this moment; no I/O. */
  stats(): CacheStats {
    return Cache.#of(this)().operations.stats()
  }

  /**
   * Delivers pending purges within a bound, then disconnects. What Redis has not taken by then stays in `pendingPurges`
   * of `stats`. Calls that were made before are answered. Closing again does nothing more.
   */
  close(): Promise<void> {
    return Cache.#call(Cache.#of(this), (found) => found.close())
  }

  /** {@link Cache.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** The `Cache` of calls that exist already. */
export function toCache(calls: () => Calls): Cache {
  const options = { secret: '' }
  opened.set(options, calls)
  return new Cache(options)
}

/** What the sockets need of the options, which the addon has checked. */
export function socketOptions(options: Partial<CacheOptions>): SocketOptions {
  const { tls, credentials } = pick(options, ['tls', 'credentials'])
  return { tls, credentials }
}

const SCOPE_NAMES = ['userId', 'rev'] as const
const PUT_NAMES = ['userId', 'rev', 'ttl', 'lease'] as const
/** Of a name that is no option an error shows so many characters. */
const MAX_SHOWN = 64

function writeCall(context: unknown, params: unknown, scope: unknown): string {
  if (scope === undefined) {
    return canonicalForm(context, params, undefined, undefined)
  }
  const { userId, rev } = readCommonScope(scope) ?? readOptions('scope', scope, SCOPE_NAMES)
  return canonicalForm(context, params, userId, rev)
}

/**
 * What `readOptions` makes of most scopes, in a fraction of its time, since each name stands where it is looked for;
 * `undefined` for what it must look at.
 */
function readCommonScope(scope: unknown): Options<(typeof SCOPE_NAMES)[number]> | undefined {
  try {
    if (!isObject(scope) || 'userId' in Object.prototype || 'rev' in Object.prototype) {
      return undefined
    }
    for (const name of Object.keys(scope)) {
      if (name !== 'userId' && name !== 'rev') {
        return undefined
      }
    }
    const { userId, rev } = scope as Scope
    return { userId, rev }
  } catch {
    return undefined
  }
}

type Options<Name extends string> = { readonly [name in Name]?: unknown }

/** Reads each option once. An unknown name is an error: `{ user: 1 }` must not become the entry of no user. */
function readOptions<Name extends string>(path: string, options: unknown, names: readonly Name[]): Options<Name> {
  if (options === undefined) {
    return new BareObject()
  }
  if (!isObject(options)) {
    throw codedError('ERR_MIZAN_OPTION', `${path} must be an object`)
  }
  let read: Options<Name>
  let unknownName: string | undefined
  try {
    unknownName = Object.keys(options).find((name) => !names.includes(name as Name))
    read = pick(options as Options<Name>, names)
  } catch {
    throw codedError('ERR_MIZAN_OPTION', `${path} cannot be read: reading it threw an exception`)
  }
  if (unknownName !== undefined) {
    const shown = unknownName.slice(0, MAX_SHOWN)
    const meant = nearest(shown, names)
    const question = meant === undefined ? '' : `; did you mean ${meant}?`
    const quoted = JSON.stringify(shown)
    throw codedError('ERR_MIZAN_OPTION', `${path}.${quoted.slice(1, -1)} is not an option${question}`)
  }
  return read
}

function isObject(value: unknown): value is object {
  try {
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    // A proxy that was revoked is nothing any more.
    return false
  }
}

const storedOrRefused = (stored: boolean) => ({ outcome: stored ? 'stored' : 'refused' })
const purged = (entries: number) => ({ outcome: 'purged', entries })
