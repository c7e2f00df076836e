/** The native addon: the types of its functions, and how it is found. */

import { createRequire } from 'node:module'
import type { CacheStats } from './cache.ts'
import type { TlsOptions } from './sockets.ts'

/**
 * An answer; a rejected promise where the cache was closed; or `undefined` where the answer is still to come, under the
 * number that was given as the last argument.
 */
export type Answer<T> = T | Promise<never> | undefined

/** A text; or the version of a large one, a number that no other value has, whose text `foundText` makes. */
export type FoundText = string | number | null

/** What a lookup finds in memory: the text; or the lease that was taken and the one that another holds; or nothing. */
export type FoundLookup = FoundText | [lease: string | null, held: string | null]

/** What the addon calls with answers; a tag for each stands in {@link Tags} then. */
export type Settle = (...answers: unknown[]) => void
/** Filled by the addon before it calls {@link Settle}: as many answers as this has room for come at once. */
export type Tags = Int32Array
/** Filled by the addon part by part; with `undefined` beforehand, so that each element is its own. */
export type Effects = unknown[]

/** The functions of one cache in one thread. Canonical forms must be those of `canonicalForm`. */
export interface CacheOperations {
  /** Tells the cache from all others of the process. */
  readonly id: number
  /** Whether entries are on Redis: answers come later. */
  readonly isRemote: boolean
  /** Whether there may be copies in this thread of what is on Redis. */
  readonly hasCopies: boolean
  readonly asksForCredentials: boolean
  key(canonical: string): string
  peek(canonical: string): FoundText
  /** The text of the large value that was found last; null if it was made already. */
  foundText(): string | null
  peekBytes(canonical: string): Uint8Array | null
  get(canonical: string, number: number): Answer<FoundText>
  getBytes(canonical: string, number: number): Answer<Uint8Array | null>
  lookup(canonical: string, number: number): Answer<FoundLookup>
  /**
   * Reads on Redis: lines of a letter (t, b, l for text, bytes, a lookup) and a canonical form, under consecutive numbers.
   * `false` where the cache was closed: then none is taken.
   */
  reads(lines: string, firstNumber: number): boolean
  put(canonical: string, value: unknown, ttl: unknown, lease: unknown, number: number): Answer<boolean>
  release(canonical: string, lease: unknown, number: number): Answer<boolean>
  purgeEntry(canonical: string, number: number): Answer<number>
  purgeContext(context: unknown, number: number): Answer<number>
  clear(number: number): Answer<number>
  stats(): CacheStats
  /** Fails every later call, in all threads. */
  markClosed(): void

  // What follows is of caches on Redis. Each settles what was answered, and returns the number of parts of effects.
  /** Sends what was asked for since the last time. */
  flush(settle: Settle, tags: Tags, effects: Effects): number
  opened(
    connection: number,
    username: string | null,
    password: string | null,
    settle: Settle,
    tags: Tags,
    effects: Effects,
  ): number
  received(connection: number, buffer: Uint8Array, length: number, settle: Settle, tags: Tags, effects: Effects): number
  closed(connection: number, reason: string, settle: Settle, tags: Tags, effects: Effects): number
  tick(settle: Settle, tags: Tags, effects: Effects): number
  /** Ends the engine of this thread, and answers under this number once it has. */
  close(number: number, settle: Settle, tags: Tags, effects: Effects): number
  /** Whether nothing is in flight and no purge is pending. */
  isIdle(): boolean
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
  /** The id of the process's default cache; 0 while there is none. */
  currentId(): number
  /** The process's default cache, in this thread, and the certificates of whoever configured it. */
  currentDefault(): [operations: CacheOperations, tls: TlsOptions]
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

function load(): Native {
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

export const native: Native = load()
