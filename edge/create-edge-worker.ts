/** The Worker: a module handler over a manifest and an origin. */

import { pick } from '../common/pick.ts'
import { answerContext } from './context-request.ts'
import { codedError } from './errors.ts'
import { type Exchange, isMizan } from './exchange.ts'
import { type EdgeManifest, Routes } from './manifest.ts'
import { answerMutation } from './mutation-request.ts'
import { type PurgeCaller, type PurgeFailure, PurgeQueue } from './purge-queue.ts'
import { longSecretBytes, Signer } from './signer.ts'
import { isWellFormed } from './text.ts'

/** The secrets that the Worker reads from its bindings. */
export interface EdgeEnv {
  /** The secret of the origin's cache, at least 32 bytes. */
  readonly MIZAN_CACHE_SECRET: string
  /** An API token that may purge the zone. Needed with `purge`. */
  readonly MIZAN_PURGE_TOKEN?: string
}

/** What the Worker needs of the runtime's context. */
export interface EdgeContext {
  waitUntil(promise: Promise<unknown>): void
}

/** What is purged, and who is told when that fails. */
export interface EdgePurge<Env> {
  /** The zone whose cache the Worker's requests fill. */
  zoneId: string
  /** Told of each purge that was given up. By default it is logged as an error. */
  onFailure?: (failure: PurgeFailure, env: Env) => void | Promise<void>
}

export interface EdgeOptions<Env> {
  /** What `origin.manifest()` returns, imported as JSON. */
  manifest: EdgeManifest
  /** Where the origin is: scheme and host. */
  origin: string
  /** Who asks, or null. Without it every user-scoped context is passed through. */
  identify?: (request: Request, env: Env) => string | null | Promise<string | null>
  /** Without it the Worker could not undo what it caches, and passes everything through. */
  purge?: EdgePurge<Env>
}

/** A Workers module handler. */
export interface EdgeWorker<Env> {
  fetch(request: Request, env: Env, context: EdgeContext): Promise<Response>
}

/**
 * Creates the Worker.
 *
 * @throws an error with the code `ERR_MIZAN_OPTION` that names the option
 */
export function createEdgeWorker<Env extends EdgeEnv = EdgeEnv>(options: EdgeOptions<Env>): EdgeWorker<Env> {
  const unknown = Object.keys(options).find((name) => !['manifest', 'origin', 'identify', 'purge'].includes(name))
  if (unknown !== undefined) throw optionError(unknown, 'is not an option')
  const given = pick(options, ['manifest', 'origin', 'identify', 'purge'])
  const routes = new Routes(given.manifest)
  const origin = readOrigin(given.origin)
  const { identify } = given
  if (identify !== undefined && typeof identify !== 'function') throw optionError('identify', 'must be a function')
  const purge = given.purge === undefined ? undefined : readPurge(given.purge)
  const queue = new PurgeQueue()
  const signerOf = signers()

  return {
    async fetch(request, env, context) {
      const url = new URL(request.url)
      try {
        const exchange: Exchange = {
          request,
          url,
          routes,
          origin,
          signer: signerOf(env.MIZAN_CACHE_SECRET),
          identify: once(() => identified(identify, request, env)),
          purges: purge === undefined ? null : { queue, caller: purgeCaller(purge, env, context) },
        }
        const response = await answer(exchange, context)
        return isMizan(exchange) ? withoutStore(response) : response
      } catch (error) {
        return failed(error)
      }
    },
  }
}

async function answer(exchange: Exchange, context: EdgeContext): Promise<Response> {
  const route = exchange.routes.at(exchange.url.pathname)
  if (route !== undefined && ['GET', 'HEAD'].includes(exchange.request.method)) return answerContext(exchange, route)
  const answered = answerMutation(exchange)
  // When the client leaves, the runtime ends what is not waited for, and a committed mutation would go unpurged.
  context.waitUntil(answered.catch(() => undefined))
  return answered
}

/** Where every response of the protocol is made uncacheable for all who do not speak it. */
function withoutStore(response: Response): Response {
  const headers = new Headers(response.headers)
  headers.set('Cache-Control', 'no-store')
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}

function failed(error: unknown): Response {
  const misconfigured = error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_MIZAN_')
  console.error(error)
  const [status, code, message] = misconfigured
    ? [500, 'misconfigured', error.message]
    : [502, 'bad_gateway', 'The origin could not be reached.']
  return withoutStore(Response.json({ error: { code, details: null, message } }, { status }))
}

/** The user, in the form that keys carry. A check that fails establishes nobody, and the origin decides. */
async function identified<Env>(
  identify: EdgeOptions<Env>['identify'],
  request: Request,
  env: Env,
): Promise<string | null> {
  try {
    const user = (await identify?.(request, env)) ?? null
    return typeof user === 'string' && user !== '' && isWellFormed(user) ? user : null
  } catch (error) {
    console.error(error)
    return null
  }
}

function readPurge<Env>(purge: EdgePurge<Env>): Required<EdgePurge<Env>> {
  const { zoneId, onFailure = logFailure } = pick<EdgePurge<Env>, keyof EdgePurge<Env>>(purge ?? {}, [
    'zoneId',
    'onFailure',
  ])
  if (typeof zoneId !== 'string' || zoneId === '') throw optionError('purge.zoneId', 'must be the id of a zone')
  if (typeof onFailure !== 'function') throw optionError('purge.onFailure', 'must be a function')
  return { zoneId, onFailure }
}

function purgeCaller<Env extends EdgeEnv>(
  { zoneId, onFailure }: Required<EdgePurge<Env>>,
  env: Env,
  context: EdgeContext,
): PurgeCaller {
  const token = env.MIZAN_PURGE_TOKEN
  if (!token) throw codedError('ERR_MIZAN_OPTION', 'MIZAN_PURGE_TOKEN: must be bound where options.purge is given')
  return {
    access: { zoneId, token },
    waitUntil: (promise) => context.waitUntil(promise),
    onFailure: async (failure) => {
      try {
        await onFailure(failure, env)
      } catch (error) {
        console.error(error)
      }
    },
  }
}

function logFailure(failure: PurgeFailure): void {
  console.error(JSON.stringify({ event: 'mizan purge failed', ...failure }))
}

/** The signer of the bound secret, which an isolate imports once. */
function signers(): (secret: string) => Signer {
  let known: { readonly secret: string; readonly signer: Signer } | undefined
  return (secret) => {
    if (known?.secret !== secret) {
      known = { secret, signer: new Signer(longSecretBytes(secret, 'MIZAN_CACHE_SECRET')) }
    }
    return known.signer
  }
}

function once<Value>(run: () => Promise<Value>): () => Promise<Value> {
  let promise: Promise<Value> | undefined
  return () => (promise ??= run())
}

function readOrigin(origin: unknown): string {
  const url = typeof origin === 'string' && URL.canParse(origin) ? new URL(origin) : null
  if (url === null || !['https:', 'http:'].includes(url.protocol) || url.href !== `${url.origin}/`) {
    throw optionError('origin', 'must be a scheme and a host, as in https://origin.example')
  }
  return url.origin
}

function optionError(name: string, rule: string): Error {
  return codedError('ERR_MIZAN_OPTION', `options.${name}: ${rule}`)
}
