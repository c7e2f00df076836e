/// <reference lib="esnext.disposable" />
//#region cache/sockets.d.ts
/** How servers are verified, and how this client shows who it is. */
interface TlsOptions {
  /** Authorities to trust instead of the system's, in PEM. */
  ca?: string | Uint8Array | (string | Uint8Array)[] | undefined;
  /** The certificate that this client shows, in PEM. */
  cert?: string | Uint8Array | undefined;
  /** The private key of that certificate, in PEM. */
  key?: string | Uint8Array | undefined;
  /** The name to find in the server's certificate instead of the host's. */
  servername?: string | undefined;
}
/** Who asks, for one connection. */
interface Credentials {
  /** The user; the default user if it is missing. */
  username?: string | undefined;
  password: string;
}
//#endregion
//#region cache/canonical.d.ts
/** A value that can be part of a key. */
type ParamValue = string | number | bigint | boolean | null | ParamValue[] | {
  [name: string]: ParamValue;
};
/** The parameters of a call. */
type Params = Record<string, ParamValue>;
//#endregion
//#region cache/cache.d.ts
/** Whose entry it is, and of which revision. */
interface Scope {
  /** A string or an integer; `undefined` and `null`, the default, mean nobody's. `''` and `0` are ids like any other. */
  userId?: string | number | bigint | null | undefined;
  /** An integer from 0, the default, to 2^53 − 1. Another revision is another entry. */
  rev?: number | undefined;
}
/** How a value is stored. */
interface PutOptions extends Scope {
  /**
  * Seconds that the value may be served, more than 0 and at most 315,360,000 (ten years); kept exactly. The default is
  * the `ttl` of the cache, spread by ± 10 %.
  */
  ttl?: number | undefined;
  /** The lease that a lookup gave: the value is stored only while it stands. `null`, the default, stores in any case. */
  lease?: string | null | undefined;
}
/** What a lookup found: exactly one member is not null, or none when Redis cannot be had. */
interface Lookup {
  /** The stored value. */
  value: string | null;
  /** The lease that this lookup took: whoever holds it loads the value and stores it with the lease. */
  lease: string | null;
  /** The lease that another lookup holds at present. */
  held: string | null;
}
/** How a Redis primary is found through its sentinels. */
interface SentinelOptions {
  /** URLs of the sentinels, `redis://` or `rediss://`. */
  urls: string[];
  /** The name under which they know the primary. */
  name: string;
  /** The user at the primary. */
  username?: string | undefined;
  /** The password at the primary. */
  password?: string | undefined;
  /** The database at the primary; 0 by default. */
  database?: number | undefined;
  /** Whether the primary is reached by TLS; `false` by default. */
  tls?: boolean | undefined;
}
/** How copies of what is in Redis are kept. */
interface LocalOptions {
  /** The bound in bytes; 33,554,432 (32 MiB) by default. */
  maxBytes?: number | undefined;
}
/** The options of a cache. All are checked when it is made; an unknown one is an error. */
interface CacheOptions {
  /** What keys are signed with: text, taken as its UTF-8, or bytes; at least 32 bytes. */
  secret: string | Uint8Array;
  /** Secrets that other processes may still use: scoped purges delete under each. None by default. */
  previousSecrets?: (string | Uint8Array)[] | undefined;
  /**
  * One Redis: `redis://`, `rediss://` (TLS) or `unix://`. `/2` or `?db=2` is database 2; any other query is an error, and
  * so is a user without a password. Without this, `cluster` and `sentinel`: in memory.
  */
  redisUrl?: string | undefined;
  /** A Redis Cluster: URLs of some of its nodes. One address of a cluster can also be `redisUrl`. */
  cluster?: string[] | undefined;
  /** A Redis primary that sentinels watch. */
  sentinel?: SentinelOptions | undefined;
  /** How TLS connections are made, as `node:tls` takes it; the system's authorities and no certificate by default. */
  tls?: TlsOptions | undefined;
  /**
  * Who asks: called for each connection, for passwords that expire. A URL must then name none. What it throws, or gives
  * that is no password, fails that attempt to connect. Of the default cache each thread asks its own function, which it
  * gave to {@link configureCache}.
  */
  credentials?: (() => Credentials | Promise<Credentials>) | undefined;
  /** Seconds that a value may be served, spread by ± 10 %; 86,400 (a day) by default, at most 315,360,000. */
  ttl?: number | undefined;
  /** Milliseconds that a lease is held; 10,000 by default, 1 to 600,000. */
  leaseMs?: number | undefined;
  /**
  * Copies in this process's own memory of what it read from Redis, which Redis says when to drop; the most recently
  * used, up to `maxBytes`, 33,554,432 (32 MiB) by default, which the threads of the process share out. `false` holds none.
  */
  local?: LocalOptions | false | undefined;
  /** The bound in bytes when entries are in memory; 67,108,864 (64 MiB) by default. */
  maxBytes?: number | undefined;
  /** The largest value in bytes; a larger one is not stored, and what stood in its place goes. 8,388,608 (8 MiB) by default. */
  maxValueBytes?: number | undefined;
  /** Milliseconds from a call to its answer on Redis; 500 by default, 1 to 600,000. */
  commandTimeoutMs?: number | undefined;
  /** Milliseconds for one attempt to connect; 2,000 by default, 1 to 600,000. */
  connectTimeoutMs?: number | undefined;
  /** Calls in flight on Redis; beyond it reads miss, writes are dropped and purges pend. 10,000 by default. */
  maxInFlight?: number | undefined;
}
/** Counters since the cache was made, and sizes of this moment. */
interface CacheStats {
  /** Reads that found a value. */
  hits: number;
  /** Hits among them on copies in this process of what is in Redis. */
  localHits: number;
  /** Reads that found none, for whatever reason; `peek` is not counted where it finds none. */
  misses: number;
  /** Values stored. */
  stores: number;
  /** Values not stored: the lease no longer stood, the value was too large, or Redis was not to be had. */
  refusedStores: number;
  /** Purges asked for. */
  purges: number;
  /** Entries that purges deleted, leases included. */
  purgedEntries: number;
  /** Reads that Redis did not answer, or answered with an error; counted as misses too. */
  failedReads: number;
  /** Writes that Redis did not answer, or answered with an error; counted as refused stores too. */
  failedWrites: number;
  /** Purges that could not be done at once and became pending. */
  deferredPurges: number;
  /** Pending purges: Redis does not have them yet. After `close`, those that could not be delivered. */
  pendingPurges: number;
  /** Calls that ran into their deadline. */
  timeouts: number;
  /** Connections made again after one was lost. */
  reconnects: number;
  /** Calls in flight on Redis. */
  inFlight: number;
  /** Entries in memory, leases included; on Redis the copies in this process. */
  entries: number;
  /** Bytes in memory, or of copies, by the measure of `maxBytes`. */
  bytes: number;
  /**
  * Whether this thread asks Redis: `idle` before the first call, `connecting` during it, `closed` while connected, `open`
  * while calls return at once because there is no connection. `null` in memory.
  */
  circuit: "idle" | "connecting" | "closed" | "open" | null;
  /**
  * How long calls took that Redis was asked for, those that failed included: from call to answer, or to the deadline.
  * A hit in memory or on a copy in this process is none of them.
  */
  latency: {
    read: Histogram;
    write: Histogram;
    purge: Histogram;
  };
}
/** A histogram with explicit bounds, as OpenTelemetry defines it; times in milliseconds. */
interface Histogram {
  /** How many calls there were. */
  count: number;
  /** How long they took together. */
  sum: number;
  /** The upper bounds of all buckets but the last; each belongs to its bucket. */
  bounds: number[];
  /** How many calls fell into each bucket: one more than there are bounds. */
  counts: number[];
}
/**
* A cache, in memory or on Redis.
*
* Arguments of a wrong type or without a canonical form throw at once: an `Error` with a `code` (`ERR_MIZAN_…`) and a
* message that names the place, as `params.user.id`, and never a value. Trouble with Redis is no error: a read is a
* miss, a write is `false`, a purge is pending and retried. After `close`, every promise is rejected with
* `ERR_MIZAN_CLOSED`. Calls in flight keep the process alive, at most until their deadline; the cache itself does not.
*/
declare class Cache {
  #private;
  /**
  * Makes a cache, without any I/O: it connects on its first use, in the background.
  *
  * @throws `ERR_MIZAN_SECRET` or `ERR_MIZAN_OPTION`, naming the option.
  */
  constructor(options: CacheOptions);
  /** The key of a call, as {@link deriveCacheKey} derives it with the secret of this cache. */
  deriveKey(context: string, params?: Params | null, scope?: Scope): string;
  /**
  * The value, if it or a copy of it is in this process's memory; never a round trip. Texts from 4 KiB on are made once
  * and kept for the next hits, up to 8,388,608 characters for each `Cache` in each thread, besides what the cache holds.
  */
  peek(context: string, params?: Params | null, scope?: Scope): string | null;
  /**
  * The value as text, or `null`; takes no lease. Rejects with `ERR_MIZAN_VALUE_ENCODING` if the stored bytes are not
  * UTF-8.
  */
  get(context: string, params?: Params | null, scope?: Scope): Promise<string | null>;
  /** The value as bytes of its own, or `null`; takes no lease. */
  getBytes(context: string, params?: Params | null, scope?: Scope): Promise<Uint8Array | null>;
  /**
  * The value; or, on a miss, a lease to store it with, or the lease that another holds. A purge in between revokes the
  * lease, so that a value read before the purge is never stored after it.
  */
  lookup(context: string, params?: Params | null, scope?: Scope): Promise<Lookup>;
  /**
  * Stores a value: text, or bytes, which are copied before this returns.
  *
  * @returns Whether it was stored: not if its lease no longer stands, if it is larger than `maxValueBytes`, or if Redis
  * cannot be had.
  * @throws `ERR_MIZAN_VALUE`, `ERR_MIZAN_TTL`, `ERR_MIZAN_LEASE` or `ERR_MIZAN_OPTION`, besides what a call throws.
  */
  put(context: string, params: Params | null | undefined, value: string | Uint8Array, options?: PutOptions): Promise<boolean>;
  /**
  * Gives a lease back whose load failed, so that nobody waits for it: the key is deleted only while just this lease
  * stands there. It is no purge, counts as none, and never touches a value.
  *
  * @returns Whether the lease stood.
  * @throws `ERR_MIZAN_LEASE` if it is no token that a lookup gave, besides what a call throws.
  */
  release(context: string, params: Params | null | undefined, lease: string, scope?: Scope): Promise<boolean>;
  /**
  * Deletes what a mutation changed. With `params`, `{}` included: the one entry of that call, under every secret. With
  * `undefined` or `null`: all entries of the context, of all users and revisions; a scope is then checked, but has no
  * effect. Revokes the leases of what it deletes.
  *
  * @returns How many entries went, leases included; 0 also where the purge is pending because Redis cannot be had.
  */
  purge(context: string, params?: Params | null, scope?: Scope): Promise<number>;
  /** Deletes all entries of this protocol, of every context, and nothing else; returns how many went. */
  clear(): Promise<number>;
  /** The counters and sizes of this moment; no I/O. */
  stats(): CacheStats;
  /**
  * Delivers pending purges within a bound, then disconnects. What Redis has not taken by then stays in `pendingPurges`
  * of `stats`. Calls that were made before are answered. Closing again does nothing more.
  */
  close(): Promise<void>;
  /** {@link Cache.close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
//#endregion
//#region cache/default-cache.d.ts
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
declare function configureCache(options?: Partial<CacheOptions>): Cache;
/** {@link Cache.get} of the default cache. Rejects with `ERR_MIZAN_NOT_CONFIGURED` if there is none. */
declare function cacheGet(context: string, params?: Params | null, scope?: Scope): Promise<string | null>;
/** {@link Cache.put} of the default cache. Rejects with `ERR_MIZAN_NOT_CONFIGURED` if there is none. */
declare function cachePut(context: string, params: Params | null | undefined, value: string | Uint8Array, options?: PutOptions): Promise<boolean>;
/** {@link Cache.purge} of the default cache. Rejects with `ERR_MIZAN_NOT_CONFIGURED` if there is none. */
declare function cachePurge(context: string, params?: Params | null, scope?: Scope): Promise<number>;
//#endregion
//#region cache/derive.d.ts
/**
* Derives the key of a call: `ctx:{context}:` and the HMAC-SHA256 of its canonical form, in lowercase hex. All
* implementations of the protocol derive the same key from the same arguments.
*
* @param secret - Text, taken as its UTF-8, or bytes; not empty.
* @param context - Matches `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
* @param params - A plain object; `undefined` and `null` mean `{}`. Nested at most 32 deep, `params` being the first.
* @param userId - Whose entry it is: a string or an integer. `undefined` and `null` mean nobody's; `''` and `0` do not.
* @param rev - An integer from 0, the default, to 2^53 − 1.
* @returns The key.
* @throws An `Error` with a `code`: `ERR_MIZAN_SECRET`, `ERR_MIZAN_CONTEXT`, `ERR_MIZAN_PARAM_TYPE`,
* `ERR_MIZAN_PARAM_NUMBER`, `ERR_MIZAN_SURROGATE`, `ERR_MIZAN_DEPTH`, `ERR_MIZAN_SIZE`, `ERR_MIZAN_USER` or
* `ERR_MIZAN_REV`. Its message names the place, as `params.user.id`, and never a value.
*/
declare function deriveCacheKey(secret: string | Uint8Array, context: string, params?: Params | null, userId?: string | number | bigint | null, rev?: number): string;
//#endregion
//#region cache/diagnostics.d.ts
/** How a call ended. */
interface EndMessage {
  /** The context of the call; `null` for `clear`. */
  context: string | null;
  /** Milliseconds from the call to its answer. */
  duration: number;
  /** The code of the error that the call was rejected with, if it was. */
  code?: string;
}
/** A message of `mizan:cache:get`: a read ended. A `peek` that finds nothing is none, as in {@link CacheStats}. */
interface GetMessage extends EndMessage {
  operation: "get" | "getBytes" | "lookup" | "peek";
  outcome: "hit" | "miss" | "error";
}
/** A message of `mizan:cache:put`: a value was stored or not. */
interface PutMessage extends EndMessage {
  operation: "put";
  outcome: "stored" | "refused" | "error";
}
/** A message of `mizan:cache:purge`: a purge ended. */
interface PurgeMessage extends EndMessage {
  operation: "purge" | "clear";
  outcome: "purged" | "error";
  /** What it was to delete. */
  scope: "entry" | "context" | "everything";
  /** How many entries went. */
  entries: number;
}
/** Why calls failed on Redis. */
type FailureReason = "timeout" | "refused" | "broken" | "overload" | "breaks connections";
/** Why a connection could not be made. */
type ConnectionFailure = "timeout" | "refused" | "broken" | "certificate" | "credentials" | "permission" | "protocol";
/** A message of `mizan:cache:error`: calls failed on Redis, one or several that ended together. */
interface ErrorMessage {
  operation: "read" | "write" | "purge";
  /**
  * No answer in time; an error as the answer; a connection that broke; more calls in flight than `maxInFlight`; or a call
  * that is not sent for a minute, because twice its connection broke while it was answered: its value may be over a limit
  * of the server.
  */
  reason: FailureReason;
  /** How many. */
  calls: number;
}
/** A message of `mizan:cache:circuit`: it changed. */
interface CircuitMessage {
  /** As in {@link CacheStats}. */
  state: "connecting" | "closed" | "open";
}
/** A message of `mizan:cache:connection`. */
interface ConnectionMessage {
  /**
  * `failed`: it could not be made, told again only for another reason. `closed`: by `close`. `fence refused`: the user may
  * not end old connections (`CLIENT KILL`), so a write that was given up may still be executed after a later purge; told
  * once.
  */
  state: "made" | "lost" | "failed" | "closed" | "fence refused";
  /** Of `failed`. */
  reason?: ConnectionFailure;
}
/** A message of `mizan:cache:pending-purges`. */
interface PendingPurgesMessage {
  /**
  * `refused`: Redis refused a purge, which is tried again by itself, after pauses of 100 ms to 30 s. `lost`: the cache was
  * closed before Redis had them.
  */
  state: "pending" | "delivered" | "refused" | "lost";
  /** How many. */
  purges: number;
  /** Of `refused`: what it was to delete. */
  scope?: "entry" | "context" | "everything";
  /** Of `refused`: its context; `null` for everything. */
  context?: string | null;
}
/** What is worth a line in a log: fields of the message of the same name, with a level and a sentence. */
type LogEntry = {
  level: "info" | "warn" | "error";
  message: string;
} & (({
  event: "connection";
} & ConnectionMessage) | ({
  event: "circuit";
} & CircuitMessage) | ({
  event: "error";
} & ErrorMessage) | ({
  event: "pending-purges";
} & PendingPurgesMessage));
/**
* Calls a function with each {@link LogEntry} of all caches that this thread opened. What it throws is dropped.
*
* @returns A function that ends it.
* @throws `ERR_MIZAN_OPTION` if it is no function.
*/
declare function onLog(listener: (entry: LogEntry) => void): () => void;
//#endregion
export { Cache, type CacheOptions, type CacheStats, type CircuitMessage, type ConnectionFailure, type ConnectionMessage, type Credentials, type ErrorMessage, type FailureReason, type GetMessage, type Histogram, type LocalOptions, type LogEntry, type Lookup, type ParamValue, type Params, type PendingPurgesMessage, type PurgeMessage, type PutMessage, type PutOptions, type Scope, type SentinelOptions, type TlsOptions, cacheGet, cachePurge, cachePut, configureCache, deriveCacheKey, onLog };