import type { LoadCall } from './get-or-load.ts'
import type { ParamValue, UserId } from './origin-cache.ts'
import type { ObjectSchema, Output } from './standard-schema.ts'

/**
 * Who asks, as `authenticate` found out. The id alone keeps entries apart, and an empty one is nobody: what a function of
 * a user-scoped context returns may depend on the id, and on nothing else that two requests of one user differ in.
 */
export interface Identity {
  readonly id: UserId
}

/** The identity, where it was declared that there is one; without that, a function has nothing to leak. */
type WithIdentity<Auth extends boolean, User> = [Auth] extends [true] ? { readonly identity: User } : unknown

/** What a context's function is given beside its parameters. */
export type ContextCall<Auth extends boolean, User> = LoadCall & WithIdentity<Auth, User>

/** What a mutation is given beside its arguments. */
export type MutationCall<Auth extends boolean, User> = Record<never, never> & WithIdentity<Auth, User>

/** Reads one member of a context's bundle. What it returns is written as JSON. */
export type ContextFunction<Params, Auth extends boolean, User> = (
  params: Readonly<Params>,
  call: ContextCall<Auth, User>,
) => unknown

/** A context's function with options of its own. */
export interface FunctionDefinition<Params, Auth extends boolean, User> {
  run: ContextFunction<Params, Auth, User>
  /** The revision of what it returns: raising it leaves all older entries behind. Default 0; a context has the highest. */
  rev?: number
  /** Seconds that its data may be kept. By default what the cache says; a context has the shortest. */
  ttl?: number
  /** False when it must run on every request. Then its whole context is not cached. Default true. */
  cache?: boolean
}

/** A context: what is read, cached and purged together (`protocol.md` §6). */
export interface ContextDefinition<Schema extends ObjectSchema, Auth extends boolean, User> {
  /** The schema of the parameters, which coerces them from the strings of a query. Without one there are none. */
  params?: Schema
  /** Whether each user has entries of their own. Default false: the context is public, and knows no identity. */
  auth?: Auth
  /** The functions, one for each member of the bundle. */
  functions: Readonly<
    Record<string, ContextFunction<Output<Schema>, Auth, User> | FunctionDefinition<Output<Schema>, Auth, User>>
  >
}

/** A context that a mutation changes, and what it tells about which entries (`protocol.md` §6). */
export interface Affected<Args, Auth extends boolean> {
  /** The context, or one of its functions, which means the context. */
  context: string
  /**
   * The parameters of the changed entry: for each the name of an argument, or all made from the arguments. By default
   * the arguments of the same names. Unless every declared parameter is given, the whole context is purged.
   */
  params?:
    | Readonly<Record<string, keyof Args & string>>
    | ((args: Args) => Readonly<Record<string, ParamValue | undefined>>)
  /**
   * Whose entry is changed, of a user-scoped context: the caller's own, or of the user whose id is made from the
   * arguments. By default anybody's: the whole context is purged.
   */
  user?: ([Auth] extends [true] ? 'self' : never) | ((args: Args) => UserId | null | undefined)
}

/** A mutation (`protocol.md` §6). */
export interface MutationDefinition<Schema extends ObjectSchema, Auth extends boolean, User, Result> {
  /** The schema of the arguments. Without one there are none. */
  args?: Schema
  /** Whether it needs an identity. Default false. */
  auth?: Auth
  /** Whether only the server's own code may call it. Default false. */
  private?: boolean
  /** What it changes: contexts, or functions of contexts, registered before. By default nothing. */
  affects?: readonly (string | Affected<Output<Schema>, Auth>)[]
  /** Does it, and commits before it returns. */
  run: (args: Output<Schema>, call: MutationCall<Auth, User>) => Result | Promise<Result>
}
