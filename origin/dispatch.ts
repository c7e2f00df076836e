import { pick } from '../common/pick.ts'
import { type Answer, answer, errorBody, failure } from './answer.ts'
import { deterministicJson } from './bundle.ts'
import { cacheStatus } from './cache-status.ts'
import type { Identity } from './definitions.ts'
import { type LoadCall, type Loaded, readThrough, runLoad } from './get-or-load.ts'
import { HttpError } from './http-errors.ts'
import { invalidationTargets, makePurges, planPurges, scopeOf } from './invalidation.ts'
import {
  ENTRY_HEADER,
  formatEntry,
  formatInvalidation,
  INVALIDATION_HEADER,
  type InvalidationTarget,
  KEY_PARAMETER,
} from './invalidation-header.ts'
import { andThen, type MaybePromise } from './maybe-promise.ts'
import type { OriginCache, Params, UserId } from './origin-cache.ts'
import { readParameters } from './parameters.ts'
import type { Context, Mutation, Registry } from './registry.ts'
import { validated } from './standard-schema.ts'
import { isUserId } from './user-id.ts'

/** What `authenticate` is given: a `Request`, or as much of one as `node:http` has at hand. */
export interface RequestHead {
  readonly method: string
  readonly headers: { get(name: string): string | null }
}

/** A request, whichever server it came through. */
export interface OriginRequest extends RequestHead {
  /** Path and query. */
  readonly target: string
  /** The body as text; refuses one longer than `limit` bytes. */
  readText(limit: number): Promise<string>
}

/** Everything that serving a request needs. */
export interface Service {
  readonly cache: OriginCache
  readonly registry: Registry
  readonly authenticate: (
    request: RequestHead,
  ) => Identity | null | undefined | PromiseLike<Identity | null | undefined>
  /** `{base}/ctx/`: a context's name and a slash follow. */
  readonly contextsPath: string
  /** `{base}/call/` */
  readonly callPath: string
  readonly limits: { readonly bodyBytes: number; readonly waitMs: number; readonly loadMs: number }
  /** Told of every failure that is the server's own. */
  readonly onError: (error: unknown) => void
}

/** What a mutation did. */
export interface Executed {
  readonly result: PromiseSettledResult<unknown>
  readonly invalidate: readonly InvalidationTarget[]
}

/** Answers a request, at once where nothing is to be waited for. It neither throws nor rejects. */
export function dispatch(service: Service, request: OriginRequest): MaybePromise<Answer> {
  try {
    const answering = route(service, request)
    return answering instanceof Promise ? answering.catch((error) => refuse(service, error)) : answering
  } catch (error) {
    return refuse(service, error)
  }
}

/** `GET {base}/ctx/{context}/`: from the cache, or by its functions (`protocol.md` §6). */
export function handleContextFetch(
  service: Service,
  name: string,
  query: string,
  head: RequestHead,
): MaybePromise<Answer> {
  const context = service.registry.contexts.get(name)
  if (context === undefined) throw new HttpError(404, 'unknown_context', 'There is no such context.')
  return andThen(context.auth ? identify(service, head) : null, (caller) =>
    andThen(readParameters(context.parameters, query), (params) =>
      andThen(readContext(service, context, params, caller), ({ value, outcome }) => {
        const headers = cacheStatus(outcome)
        // Tells the Edge Worker, when it asks, which entry this is.
        const entry = context.cached && query.includes(KEY_PARAMETER) ? formatEntry(name, params) : null
        if (entry !== null) headers[ENTRY_HEADER] = entry
        return answer(200, value, headers)
      }),
    ),
  )
}

/** `POST {base}/call/`: validates, runs, purges, and only then answers (`protocol.md` §6). */
export async function handleMutationCall(service: Service, body: string, head: RequestHead): Promise<Answer> {
  const { fn, args } = parseCall(body)
  const mutation = service.registry.mutations.get(fn)
  if (mutation === undefined) throw new HttpError(404, 'unknown_function', 'There is no such function.')
  if (mutation.private) throw new HttpError(403, 'private_function', 'This function is not open to callers.')
  const caller = mutation.auth ? await identify(service, head) : null
  const { result, invalidate } = await execute(service, mutation, args, caller?.identity ?? null)
  const headers = invalidate.length === 0 ? {} : { [INVALIDATION_HEADER]: formatInvalidation(invalidate) }
  try {
    if (result.status === 'rejected') throw result.reason
    const told = mutation.affects.length === 0 ? {} : { invalidate }
    return answer(200, deterministicJson({ result: result.value ?? null, ...told }), headers)
  } catch (error) {
    return refuse(service, error, headers)
  }
}

/**
 * Runs a mutation and its purges, whoever calls it.
 *
 * A refusal by `HttpError` says that nothing was changed. After any other failure the mutation may have committed, so
 * it purges like a success.
 */
export async function execute(
  service: Service,
  mutation: Mutation,
  given: unknown,
  identity: Identity | null,
): Promise<Executed> {
  const args = mutation.schema === null ? {} : await validated(mutation.schema, given, 'invalid_args')
  const purges = await planPurges(service.cache, mutation, args, identity)
  const [result] = await Promise.allSettled([run(mutation, args, identity)])
  if (result.status === 'rejected' && result.reason instanceof HttpError) return { result, invalidate: [] }
  const invalidate = invalidationTargets(purges)
  try {
    await makePurges(service.cache, purges)
  } catch (reason) {
    return { result: { status: 'rejected', reason }, invalidate }
  }
  return { result, invalidate }
}

interface Caller {
  readonly identity: Identity
  readonly userId: UserId
}

/** Who asks, or 401. The id is read once, so that what is checked is what the key carries. */
function identify(service: Service, head: RequestHead): MaybePromise<Caller> {
  return andThen(service.authenticate(head), (identity) => {
    const userId = identity?.id
    if (identity === null || identity === undefined || !isUserId(userId)) throw unauthenticated()
    return { identity, userId }
  })
}

export function unauthenticated(): HttpError {
  return new HttpError(401, 'unauthenticated', 'This needs a signed-in user.')
}

function route(service: Service, request: OriginRequest): MaybePromise<Answer> {
  const { contextsPath, callPath } = service
  const { target } = request
  const question = target.indexOf('?')
  const pathEnd = question < 0 ? target.length : question
  if (target.startsWith(contextsPath)) {
    const slash = target.indexOf('/', contextsPath.length)
    if (slash > contextsPath.length && slash === pathEnd - 1) {
      const name = target.slice(contextsPath.length, slash)
      return wrongMethod(request, READING) ?? handleContextFetch(service, name, target.slice(pathEnd + 1), request)
    }
  }
  if (pathEnd === callPath.length && target.startsWith(callPath)) {
    return (
      wrongMethod(request, CALLING) ??
      andThen(readJson(service, request), (body) => handleMutationCall(service, body, request))
    )
  }
  throw new HttpError(404, 'not_found', 'There is nothing at this address.')
}

const READING = ['GET', 'HEAD']
const CALLING = ['POST']

/** The answer to any other method, and null to one of these. */
function wrongMethod(request: OriginRequest, methods: readonly string[]): Answer | null {
  if (methods.includes(request.method)) return null
  const allow = { Allow: [...methods, 'OPTIONS'].join(', ') }
  if (request.method === 'OPTIONS') return answer(204, '', allow)
  return answer(405, errorBody('method_not_allowed', `Allowed here: ${allow.Allow}.`), allow)
}

function readJson(service: Service, request: OriginRequest): Promise<string> {
  const [type = ''] = (request.headers.get('content-type') ?? '').split(';')
  if (type.trim().toLowerCase() !== 'application/json' || request.headers.get('content-encoding') !== null) {
    throw new HttpError(415, 'unsupported_media_type', 'A call is application/json, without a content encoding.')
  }
  return request.readText(service.limits.bodyBytes)
}

function parseCall(body: string): { fn: string; args: object } {
  const call = parseJson(body)
  if (isRecord(call)) {
    const { fn, args = {} } = pick(call, ['fn', 'args'])
    if (typeof fn === 'string' && isRecord(args)) return { fn, args: Object.assign(Object.create(null), args) }
  }
  throw new HttpError(400, 'invalid_call', 'A call is {"fn": a name, "args": an object}.')
}

function parseJson(text: string): unknown {
  // Only a text with one of these can have the member at all, and a reviver makes parsing several times slower.
  const suspicious = text.includes('__proto__') || text.includes('\\u')
  try {
    return JSON.parse(text, suspicious ? refusePrototype : undefined)
  } catch {
    throw new HttpError(400, 'invalid_json', 'The body is not JSON that can be accepted.')
  }
}

/** `Object.assign({}, args)` in a function would make a member of this name the prototype of the copy. */
function refusePrototype(key: string, value: unknown): unknown {
  if (key === '__proto__') throw new SyntaxError('a member is called __proto__')
  return value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The body of a context: from the cache, where it may be, or by its functions. */
function readContext(
  { cache, limits: { waitMs, loadMs } }: Service,
  context: Context,
  params: Params,
  caller: Caller | null,
): MaybePromise<Loaded> {
  const load = (call: LoadCall) => runFunctions(context, params, caller?.identity ?? null, call)
  if (!context.cached) return runLoad(load, loadMs).then((value) => ({ value, outcome: 'bypassed' }))
  const { name, ttl } = context
  const scope = scopeOf(context, caller?.userId ?? null)
  return readThrough({ cache, context: name, params, scope, ttl, waitMs, loadMs, load })
}

/** All functions of a context at once, as one bundle: complete, or none of it. */
async function runFunctions(
  context: Context,
  params: Params,
  identity: Identity | null,
  call: LoadCall,
): Promise<string> {
  // The entry is stored under the key of these, whatever a function would do to them.
  Object.freeze(params)
  const functionCall = identity === null ? call : { ...call, identity }
  const members = await Promise.all(
    [...context.functions].map(async ([name, run]) => [
      name,
      (await run(params as never, functionCall as never)) ?? null,
    ]),
  )
  return deterministicJson(Object.fromEntries(members))
}

async function run(mutation: Mutation, args: object, identity: Identity | null): Promise<unknown> {
  return mutation.run(args as never, (mutation.auth ? { identity } : {}) as never)
}

/** Reports what is the server's own fault, and answers. */
function refuse(service: Service, error: unknown, headers: Record<string, string> = {}): Answer {
  try {
    if (!(error instanceof HttpError)) service.onError(error)
    return failure(error, headers)
  } catch (defect) {
    // A hook that throws, or an HttpError whose details are not JSON, must not take the response with it.
    return failure(defect instanceof HttpError ? null : defect, headers)
  }
}
