import { pick } from '../common/pick.ts'
import type { ContextDefinition, Identity, MutationDefinition } from './definitions.ts'
import type { RequestHead, Service } from './dispatch.ts'
import { execute, unauthenticated } from './dispatch.ts'
import { handleRequest } from './fetch-handler.ts'
import { DEFAULT_LOAD_MS, DEFAULT_WAIT_MS } from './get-or-load.ts'
import type { InvalidationTarget } from './invalidation-header.ts'
import type { Manifest } from './manifest.ts'
import { makeManifest } from './manifest.ts'
import type { NodeRequest, NodeResponse } from './node-handler.ts'
import { handleNodeRequest } from './node-handler.ts'
import type { OriginCache } from './origin-cache.ts'
import { Registry } from './registry.ts'
import type { Input, NoParameters, ObjectSchema } from './standard-schema.ts'
import { isUserId } from './user-id.ts'

/** What an origin is made of. */
export interface OriginOptions<User extends Identity> {
  /** Where bodies are kept. The origin does not close it. */
  cache: OriginCache
  /**
   * Finds out who asks; null for nobody. Asked only for contexts and mutations with `auth: true`, whose functions are
   * given what it returns.
   */
  authenticate?: (request: RequestHead) => User | null | undefined | PromiseLike<User | null | undefined>
  /** Where the origin is reached. Default `/api/mizan`. */
  basePath?: string
  limits?: OriginLimits
  /** Told of every failure that is answered with 500, which says nothing of it to the client. Default `console.error`. */
  onError?: (error: unknown) => void
}

/** Bounds of an origin. */
export interface OriginLimits {
  /** Bytes of a mutation's body. Default 1,048,576. */
  bodyBytes?: number
  /** Milliseconds to wait for a load of another process. Default 100. */
  waitMs?: number
  /** Milliseconds that the functions of a context may take. Default 30,000. */
  loadMs?: number
}

/** What a mutation called by the server's own code resolves to, when all its purges are done. */
export interface MutationOutcome<Result> {
  readonly result: Result
  /** What it changed. `formatInvalidation` makes the header of it. */
  readonly invalidate: readonly InvalidationTarget[]
}

/** Calls a mutation from the server's own code, also a private one. */
export type MutationCaller<Schema extends ObjectSchema, Auth extends boolean, User, Result> = (
  args: Input<Schema>,
  ...call: [Auth] extends [true] ? [{ readonly identity: User }] : []
) => Promise<MutationOutcome<Result>>

/** Serves contexts from a cache and purges them on mutations (`protocol.md` §6). */
export interface Origin<User extends Identity> {
  /** Registers a context. What is wrong with it raises here. */
  readonly context: <Schema extends ObjectSchema = NoParameters, Auth extends boolean = false>(
    name: string,
    definition: ContextDefinition<Schema, Auth, User>,
  ) => void
  /** Registers a mutation, after the contexts it affects. */
  readonly mutation: <Result, Schema extends ObjectSchema = NoParameters, Auth extends boolean = false>(
    name: string,
    definition: MutationDefinition<Schema, Auth, User, Result>,
  ) => MutationCaller<Schema, Auth, User, Result>
  /** Answers a `Request`: Bun, Deno, Hono, route handlers of Next. Never rejects. */
  readonly fetch: (request: Request) => Promise<Response>
  /** Answers a request of `node:http`: Express, Fastify's raw handler. */
  readonly node: (request: NodeRequest, response: NodeResponse) => void
  /** What the Edge Worker reads. */
  readonly manifest: () => Manifest
}

/** Makes an origin. */
export function createOrigin<User extends Identity = never>(options: OriginOptions<User>): Origin<User> {
  const service = makeService(options)
  return {
    context: (name, definition) => {
      requireAuthenticate(options, definition, `context ${name}`)
      service.registry.addContext(name, definition as never)
    },
    mutation: (name, definition) => {
      requireAuthenticate(options, definition, `mutation ${name}`)
      const mutation = service.registry.addMutation(name, definition as never)
      return async (args, call?: { readonly identity: User }) => {
        if (mutation.auth && !isUserId(call?.identity.id)) throw unauthenticated()
        const { result, invalidate } = await execute(service, mutation, args, call?.identity ?? null)
        if (result.status === 'rejected') throw result.reason
        return { result: result.value as never, invalidate }
      }
    },
    fetch: (request) => handleRequest(service, request),
    node: (request, response) => handleNodeRequest(service, request, response),
    manifest: () => makeManifest(service),
  }
}

function makeService<User extends Identity>(options: OriginOptions<User>): Service {
  const {
    cache,
    authenticate = () => null,
    basePath = '/api/mizan',
    limits = {},
    onError = console.error,
  } = readOptions('options', options, ['cache', 'authenticate', 'basePath', 'limits', 'onError'])
  if (typeof cache?.lookup !== 'function') throw new TypeError('options.cache is not a cache')
  if (!/^(\/[A-Za-z0-9._~-]+)*$/.test(basePath)) {
    throw new TypeError('options.basePath is a path that starts with a slash and does not end with one')
  }
  const {
    bodyBytes = 1_048_576,
    waitMs = DEFAULT_WAIT_MS,
    loadMs = DEFAULT_LOAD_MS,
  } = readOptions('options.limits', limits, ['bodyBytes', 'waitMs', 'loadMs'])
  for (const [name, value] of Object.entries({ bodyBytes, waitMs, loadMs })) {
    if (!Number.isInteger(value) || value < 0 || value > LARGEST_TIMER) {
      throw new TypeError(`options.limits.${name} is an integer from 0 to ${LARGEST_TIMER}`)
    }
  }
  return {
    cache,
    registry: new Registry(),
    authenticate,
    contextsPath: `${basePath}/ctx/`,
    callPath: `${basePath}/call/`,
    limits: { bodyBytes, waitMs, loadMs },
    onError,
  }
}

/** A longer timer fires at once. */
const LARGEST_TIMER = 2 ** 31 - 1

function requireAuthenticate(options: { authenticate?: unknown }, definition: { auth?: unknown }, where: string): void {
  if (pick(definition, ['auth']).auth === true && pick(options, ['authenticate']).authenticate === undefined) {
    throw new TypeError(`${where}: auth: true needs options.authenticate`)
  }
}

/** The options of these names; there may be no others. */
function readOptions<Options extends object, Name extends keyof Options & string>(
  where: string,
  options: Options,
  names: readonly Name[],
): Pick<Options, Name> {
  const stranger = Object.keys(options).find((name) => !names.includes(name as Name))
  if (stranger !== undefined) throw new TypeError(`${where}.${stranger} is not an option`)
  return pick(options, names)
}
