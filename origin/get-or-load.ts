import { pick } from '../common/pick.ts'
import type { Outcome } from './cache-status.ts'
import { HttpError } from './http-errors.ts'
import type { MaybePromise } from './maybe-promise.ts'
import type { LookupResult, OriginCache, Params, Scope } from './origin-cache.ts'
import { isCacheError } from './origin-cache.ts'

/** What a load is told about its time. */
export interface LoadCall {
  /** Aborted at the deadline. A caller that goes away does not abort a load: others may wait for it. */
  readonly signal: AbortSignal
  /** When the load is given up, in milliseconds since the epoch. */
  readonly deadline: number
}

/** Makes the body of an entry. */
export type Load = (call: LoadCall) => string | Promise<string>

/** Which entry is wanted, and how long it may take. */
export interface LoadOptions extends Scope {
  /** Seconds that the entry lives; by default what the cache was configured with. */
  ttl?: number
  /** How long to wait for a load of another process, in milliseconds. Default 100. */
  waitMs?: number
  /** How long a load may take, in milliseconds. Default 30,000. */
  loadMs?: number
}

export const DEFAULT_WAIT_MS = 100
export const DEFAULT_LOAD_MS = 30_000

/** A body and how it came about. */
export interface Loaded {
  readonly value: string
  readonly outcome: Outcome
}

/** Everything about one read. */
export interface Entry {
  readonly cache: OriginCache
  readonly context: string
  readonly params: Params
  readonly scope: Scope | undefined
  readonly ttl: number | undefined
  readonly waitMs: number
  readonly loadMs: number
  readonly load: Load
}

/**
 * Reads an entry, or loads and stores it (`protocol.md` §5).
 *
 * Concurrent callers of one process share one load, and a load that runs in another process is waited for up to
 * `waitMs`. Whoever calls after a purge has completed is never given what a load that began before it has read.
 * A load that fails is not stored; all who wait for it are given its error. Without a working cache each caller loads
 * for itself.
 */
export async function getOrLoad(
  cache: OriginCache,
  context: string,
  params: Params | null | undefined,
  scope: LoadOptions | null | undefined,
  load: Load,
): Promise<string> {
  const {
    userId = null,
    rev = 0,
    ttl,
    waitMs = DEFAULT_WAIT_MS,
    loadMs = DEFAULT_LOAD_MS,
  } = pick<LoadOptions, keyof LoadOptions>(scope ?? {}, ['userId', 'rev', 'ttl', 'waitMs', 'loadMs'])
  // Absent parameters are those of the call without any; to purge() they would mean the whole context.
  const entry = { cache, context, params: params ?? {}, scope: { userId, rev }, ttl, waitMs, loadMs, load }
  return (await readThrough(entry)).value
}

/** `getOrLoad`, saying also how the body came about, and at once where that is a hit in memory. */
export function readThrough(entry: Entry): MaybePromise<Loaded> {
  const local = peek(entry)
  return local === null ? lookUpOrLoad(entry) : { value: local, outcome: 'hit' }
}

async function lookUpOrLoad(entry: Entry): Promise<Loaded> {
  return proceed(entry, await lookup(entry), performance.now() + entry.waitMs)
}

/** What is loading under a lease that this process holds, by the lease's token, until its store is done. */
const leading = new Map<string, Promise<string>>()

/** What waits for a lease that another process holds, by the lease's token. */
const following = new Map<string, Promise<Loaded>>()

const NOTHING: LookupResult = { value: null, lease: null, held: null }

/** An entry that has no key, or a cache that was closed, is not cached: the call goes on without. */
function peek({ cache, context, params, scope }: Entry): string | null {
  try {
    return cache.peek(context, params, scope)
  } catch (error) {
    if (isCacheError(error)) return null
    throw error
  }
}

async function lookup({ cache, context, params, scope }: Entry): Promise<LookupResult> {
  try {
    return await cache.lookup(context, params, scope)
  } catch (error) {
    if (isCacheError(error)) return NOTHING
    throw error
  }
}

async function proceed(entry: Entry, found: LookupResult, waitUntil: number): Promise<Loaded> {
  if (found.value !== null) return { value: found.value, outcome: 'hit' }
  if (found.lease !== null) return { value: await lead(entry, found.lease), outcome: 'loaded' }
  if (found.held !== null) return join(entry, found.held, waitUntil)
  return { value: await runLoad(entry.load, entry.loadMs), outcome: 'bypassed' }
}

/**
 * Loads under a lease of one's own and stores with it. The answer does not wait for the store; callers who meanwhile
 * see the lease still standing are given the load's result.
 */
function lead(entry: Entry, lease: string): Promise<string> {
  const loading = runLoad(entry.load, entry.loadMs)
  leading.set(lease, loading)
  loading
    .then(
      (value) => store(entry, lease, value),
      () => release(entry, lease),
    )
    .finally(() => leading.delete(lease))
    .catch(() => {})
  return loading
}

async function store({ cache, context, params, scope, ttl }: Entry, lease: string, value: string): Promise<void> {
  await cache.put(context, params, value, ttl === undefined ? { ...scope, lease } : { ...scope, ttl, lease })
}

/** Gives a lease back after a failed load, so that nobody waits for it. */
async function release({ cache, context, params, scope }: Entry, lease: string): Promise<void> {
  leading.delete(lease)
  await cache.release(context, params, lease, scope)
}

/**
 * Shares what is done in this process about a lease that the caller saw standing. A token stands once, without a gap,
 * and no purge of the entry falls into that time; so whatever was begun after the token was taken reads nothing that
 * is older than any purge which completed before the caller looked.
 */
async function join(entry: Entry, held: string, waitUntil: number): Promise<Loaded> {
  const led = leading.get(held)
  if (led !== undefined) return { value: await led, outcome: 'joined' }
  const followed = following.get(held)
  if (followed !== undefined) {
    const { value, outcome } = await followed
    return { value, outcome: outcome === 'hit' ? 'hit' : 'joined' }
  }
  const follower = follow(entry, held, waitUntil).finally(() => following.delete(held))
  following.set(held, follower)
  return follower
}

/** Waits for another process to store, looking again in growing steps; at the end of the wait loads and stores nothing. */
async function follow(entry: Entry, held: string, waitUntil: number): Promise<Loaded> {
  for (let pause = 2; performance.now() < waitUntil; pause *= 2) {
    await new Promise((resolve) => setTimeout(resolve, Math.min(pause, waitUntil - performance.now())))
    // The lease may be of this process after all, when its holder was told of it later than this caller.
    const led = leading.get(held)
    if (led !== undefined) return { value: await led, outcome: 'joined' }
    const found = await lookup(entry)
    if (found.held !== held) return proceed(entry, found, waitUntil)
  }
  return { value: await runLoad(entry.load, entry.loadMs), outcome: 'bypassed' }
}

/** Runs the load until it settles or its time is over. */
export async function runLoad(load: Load, loadMs: number): Promise<string> {
  const controller = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new HttpError(503, 'load_timeout', 'The data could not be read in time.')
      controller.abort(error)
      reject(error)
    }, loadMs)
  })
  try {
    return await Promise.race([load({ signal: controller.signal, deadline: Date.now() + loadMs }), expired])
  } finally {
    clearTimeout(timer)
  }
}
