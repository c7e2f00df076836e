import type { Identity } from './definitions.ts'
import { HttpError } from './http-errors.ts'
import type { InvalidationTarget } from './invalidation-header.ts'
import type { OriginCache, Params, Scope, UserId } from './origin-cache.ts'
import { isCacheError } from './origin-cache.ts'
import { declared } from './parameters.ts'
import type { Context, Effect, Mutation } from './registry.ts'
import type { Scalar } from './scalar.ts'
import { isScalar, scalarText } from './scalar.ts'
import { check } from './standard-schema.ts'
import { isUserId } from './user-id.ts'

/** One purge that a mutation makes: of one entry, or of a whole context when `params` is null. */
export interface Purge {
  readonly context: Context
  readonly params: Readonly<Record<string, Scalar>> | null
  readonly userId: UserId | null
}

type Args = Readonly<Record<string, unknown>>

/**
 * What a mutation with these arguments purges: for each context it affects, the narrowest purge that is certain to
 * cover every entry that may have changed (`protocol.md` §6).
 *
 * This is settled before the mutation runs, so that what cannot be purged is not committed either.
 */
export async function planPurges(
  cache: OriginCache,
  mutation: Mutation,
  args: Args,
  identity: Identity | null,
): Promise<Purge[]> {
  const purges = await Promise.all(mutation.affects.map((effect) => planPurge(effect, args, identity)))
  for (const purge of purges) checkKey(cache, purge)
  return withoutCovered(purges)
}

/** Makes the purges. Every one is tried; the first error is raised when all are done. */
export async function makePurges(cache: OriginCache, purges: readonly Purge[]): Promise<void> {
  const settled = await Promise.allSettled(purges.map((purge) => makePurge(cache, purge)))
  for (const result of settled) {
    if (result.status === 'rejected') throw result.reason
  }
}

/** The purges as the response tells them. Whose entry it was is nobody's business but the owner's. */
export function invalidationTargets(purges: readonly Purge[]): InvalidationTarget[] {
  const told = new Map<string, InvalidationTarget>()
  for (const { context, params } of purges) {
    const target = params === null ? context.name : { context: context.name, params: forJson(params) }
    told.set(JSON.stringify(target), target)
  }
  return [...told.values()]
}

async function planPurge({ context, params, user }: Effect, args: Args, identity: Identity | null): Promise<Purge> {
  const whole: Purge = { context, params: null, userId: null }
  const userId = context.auth ? affectedUser(user, args, identity) : null
  if (context.auth && userId === null) return whole
  const exact = await exactParams(context, givenParams(context, params, args))
  return exact === null ? whole : { context, params: exact, userId }
}

function affectedUser(user: Effect['user'], args: Args, identity: Identity | null): UserId | null {
  const id = user === 'self' ? identity?.id : user?.(args)
  return isUserId(id) ? id : null
}

function givenParams(context: Context, params: Effect['params'], args: Args): Args {
  if (typeof params === 'function') return params(args)
  const sources = params ?? Object.fromEntries(context.parameters.names.map((name) => [name, name]))
  return Object.fromEntries(Object.entries(sources).map(([name, source]) => [name, own(args, source)]))
}

/**
 * The parameters of the one entry that is meant, or null when that is not certain: one is missing, or the context's
 * own schema refuses it or makes something else of it, as one that lowers case would. Then a GET with these values
 * may have stored under a key that they do not derive.
 */
async function exactParams({ parameters }: Context, given: Args): Promise<Record<string, Scalar> | null> {
  const texts: Record<string, string> = {}
  for (const name of parameters.names) {
    const value = own(given, name)
    if (!isScalar(value)) return null
    texts[name] = scalarText(value)
  }
  if (parameters.schema === null) return {}
  const result = await check(parameters.schema, { ...texts })
  if (result.issues !== null) return null
  const params: Params = declared(parameters, result.value)
  const exact: Record<string, Scalar> = {}
  for (const name of parameters.names) {
    const value = own(params, name)
    if (!isScalar(value) || scalarText(value) !== texts[name]) return null
    exact[name] = value
  }
  return exact
}

/** A purge must not fail for its key after the mutation has committed. */
function checkKey(cache: OriginCache, { context, params, userId }: Purge): void {
  if (params === null) return
  try {
    cache.deriveKey(context.name, params, scopeOf(context, userId))
  } catch (error) {
    if (!isCacheError(error)) throw error
    throw new HttpError(422, 'invalid_args', `No key can be made of the arguments: ${error.message}`)
  }
}

async function makePurge(cache: OriginCache, { context, params, userId }: Purge): Promise<void> {
  if (params === null) await cache.purge(context.name)
  else await cache.purge(context.name, params, scopeOf(context, userId))
}

/** The scope of an entry of a context, for reading as for purging. */
export function scopeOf({ rev }: Context, userId: UserId | null): Scope | undefined {
  return userId === null && rev === 0 ? undefined : { userId, rev }
}

/** Leaves out what a purge of the whole context covers, and what is there twice. */
function withoutCovered(purges: readonly Purge[]): Purge[] {
  const whole = new Set(purges.filter(({ params }) => params === null).map(({ context }) => context))
  const kept = new Map<string, Purge>()
  for (const purge of purges) {
    const { context, params, userId } = purge
    if (params !== null && whole.has(context)) continue
    const told = params === null ? null : Object.entries(params).map(([name, value]) => [name, scalarText(value)])
    kept.set(JSON.stringify([context.name, told, userId === null ? null : String(userId)]), purge)
  }
  return [...kept.values()]
}

function forJson(params: Readonly<Record<string, Scalar>>): Record<string, Scalar> {
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [name, typeof value === 'bigint' ? String(value) : value]),
  )
}

function own(object: Args, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined
}
