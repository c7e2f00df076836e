/** The native addon: the types of its functions, and how it is found. */

import { createRequire } from 'node:module'
import type { CacheStats } from './cache.ts'
import { beginBy, settle } from './completions.ts'
import { type CoreEvent, report } from './diagnostics.ts'

/**
 * An operation's answer; a rejected promise where it failed at once; or `undefined` where the answer is still to come,
 * under the number that was given as the last argument.
 */
export type Answer<T> = T | Promise<never> | undefined

/** The value; or the lease that was taken and the lease that another holds, one of them null; or nothing. */
export type LookupAnswer = string | [lease: string | null, held: string | null] | null

/** The functions of one cache. Canonical forms must be those of `canonicalForm`. */
export interface CacheOperations {
  /** Whether every operation has its answer at once: entries are in memory. */
  readonly answersAtOnce: boolean
  /** Whether there may be copies in this process of what is in Redis. */
  readonly hasCopies: boolean
  key(canonical: string): string
  /** The text; or the version of a large one, a number that no other value has, whose text `peeked` makes. */
  peek(canonical: string): string | number | null
  /** The text of the large value at which this thread peeked last; null if it was made already. */
  peeked(): string | null
  peekBytes(canonical: string): Uint8Array | null
  /** A value that is expected to be large is read where it holds up no others. */
  get(canonical: string, number: number, isLarge: boolean): Answer<string | null>
  getBytes(canonical: string, number: number, isLarge: boolean): Answer<Uint8Array | null>
  lookup(canonical: string, number: number, isLarge: boolean): Answer<LookupAnswer>
  /** Reads of many calls, each of whose canonical forms ends with a line feed; an answer that failed is an `Error`. */
  getMany(canonicals: string, number: number): Answer<(string | null | Error)[]>
  getBytesMany(canonicals: string, number: number): Answer<(Uint8Array | null | Error)[]>
  lookupMany(canonicals: string, number: number): Answer<(LookupAnswer | Error)[]>
  put(canonical: string, value: unknown, ttl: unknown, lease: unknown, number: number): Answer<boolean>
  purgeEntry(canonical: string, number: number): Answer<number>
  purgeContext(context: unknown, number: number): Answer<number>
  clear(number: number): Answer<number>
  stats(): CacheStats
  close(number: number): Answer<null>
}

interface Native {
  /** The authority for what a call's canonical form is, and for what has none. */
  canonicalForm(context: unknown, params: unknown, userId: unknown, rev: unknown): string
  /** A function that makes keys of canonical forms. */
  createSigner(secret: unknown): (canonical: string) => string
  /** The key of a canonical form, for a secret that is used once or may change. */
  deriveKey(secret: unknown, canonical: string): string
  openCache(options: unknown): CacheOperations
  /** Opens the process's default cache, or finds it if it is open with equal options. */
  configureDefault(options: unknown, fallbackUrl: unknown, fallbackSecret: unknown): CacheOperations
  /** Begins the operations whose answers are still to come, of all caches. */
  begin(): void
  /** The functions of whichever cache is the process's default when they are called. */
  defaultCache: CacheOperations
}

interface Addon {
  /** Hands over what ended: numbers and answers in turns, numbers and errors in turns; and events, if there are any. */
  attach(deliver: (resolved: unknown[], rejected: unknown[], events: CoreEvent[] | undefined) => void): Native
}

/** The platforms whose addon may fit. An addon for the wrong C library does not load, so the next one is tried. */
function candidatePlatforms(): string[] {
  const platform = `${process.platform}-${process.arch}`
  switch (process.platform) {
    case 'linux':
      return [`${platform}-gnu`, `${platform}-musl`]
    case 'win32':
      return [`${platform}-msvc`]
    default:
      return [platform]
  }
}

function load(): Addon {
  const requireAddon = createRequire(import.meta.url)
  const failures: unknown[] = []
  for (const platform of candidatePlatforms()) {
    // A build of this repository comes before an installed package.
    for (const path of [`../mizan-cache.${platform}.node`, `@mizan/cache-${platform}`]) {
      try {
        return requireAddon(path)
      } catch (failure) {
        failures.push(failure)
      }
    }
  }
  throw new AggregateError(
    failures,
    `@mizan/cache has no addon for ${process.platform} on ${process.arch}, or its optional dependencies are not installed`,
  )
}

export const native: Native = load().attach((resolved, rejected, events) => {
  settle(resolved, rejected)
  if (events !== undefined) {
    report(events)
  }
})

beginBy(native.begin)
