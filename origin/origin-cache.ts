/** A value of a parameter, as the key knows it (`protocol.md` §1.4–1.6). */
export type ParamValue = string | number | bigint | boolean | null | ParamValue[] | { [name: string]: ParamValue }

/** The parameters of one entry. */
export type Params = Record<string, ParamValue>

/** The id of a user as the key carries it (`protocol.md` §1.8). */
export type UserId = string | number | bigint

/** What tells entries of one context and the same parameters apart. */
export interface Scope {
  userId?: UserId | null
  rev?: number
}

/** What a lookup found: exactly one of the three, or none when the backend has trouble (`protocol.md` §5). */
export interface LookupResult {
  /** The stored body. */
  readonly value: string | null
  /** A lease of the caller's own: it may store what it loads now. */
  readonly lease: string | null
  /** The lease that another caller holds. */
  readonly held: string | null
}

/** What the origin needs of a cache. `Cache` of `@mizan/cache` has it. */
export interface OriginCache {
  deriveKey(context: string, params: Params | null, scope?: Scope): string
  peek(context: string, params: Params | null, scope?: Scope): string | null
  lookup(context: string, params: Params | null, scope?: Scope): Promise<LookupResult>
  put(
    context: string,
    params: Params | null,
    value: string,
    options?: Scope & { ttl?: number; lease?: string | null },
  ): Promise<boolean>
  /** Gives a lease back whose load failed; never touches a value. */
  release(context: string, params: Params | null, lease: string, scope?: Scope): Promise<boolean>
  purge(context: string, params?: Params | null, scope?: Scope): Promise<number>
}

/**
 * Whether the cache raised this itself: a key that cannot be derived, a value that cannot be kept, a closed cache. Told by
 * its code alone: an error of another realm is no instance of this realm's `Error`.
 */
export function isCacheError(error: unknown): error is Error & { readonly code: string } {
  return (
    typeof error === 'object' &&
    error !== null &&
    'code' in error &&
    typeof error.code === 'string' &&
    error.code.startsWith('ERR_MIZAN_')
  )
}
