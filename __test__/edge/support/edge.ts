/** The whole chain of one test: a browser's requests, the Worker in workerd, the CDN's stand-in, an origin. */

import { SignJWT } from 'jose'
import { Miniflare } from 'miniflare'
import { expect } from 'vitest'
import type { EdgeManifest } from '../../../edge/index.ts'
import { bundleWorker } from './bundle.ts'
import { Cdn } from './cdn.ts'

export const SECRET = 'a secret of the tests, 32 bytes or more'
const JWT_SECRET = 'what the login signs with, 32 bytes or more'
const BASE = '/api/mizan/'

export interface Received {
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

export interface Edge {
  readonly cdn: Cdn
  /** What the hook was told of failed purges. */
  readonly failures: PurgeFailure[]
  /** Where the Worker listens, for clients that leave. */
  readonly address: URL
  fetch(path: string, init?: RequestInit): Promise<Received>
  /** Calls a mutation. */
  call(fn: string, args: object, token?: string): Promise<Received>
  stop(): Promise<void>
}

export interface PurgeFailure {
  readonly tags: string[]
  readonly reason: string
  readonly attempts: number
  readonly repetition: boolean
}

export interface EdgeOptions {
  manifest: EdgeManifest
  /** What answers behind the CDN; or an address, which is then reached without it. */
  origin: ((request: Request) => Promise<Response>) | string
  bindings?: Record<string, string>
  worker?: string
  /** The public keys that the login publishes. */
  jwks?: object
}

export async function startEdge(options: EdgeOptions): Promise<Edge> {
  const { manifest, origin, bindings, worker = 'chain-worker.ts', jwks } = options
  const failures: PurgeFailure[] = []
  const cdn = new Cdn(typeof origin === 'string' ? fetch : origin, async (request) => {
    if (new URL(request.url).hostname === 'login.example') return Response.json(jwks)
    failures.push((await request.json()) as PurgeFailure)
    return new Response()
  })
  const script = await bundleWorker(`__test__/edge/support/${worker}`, {
    MANIFEST: JSON.stringify(manifest),
    ORIGIN: JSON.stringify(typeof origin === 'string' ? origin : 'https://origin.example'),
    ZONE_ID: JSON.stringify(cdn.zoneId),
  })
  const runtime = new Miniflare({
    modules: true,
    script,
    compatibilityDate: '2026-04-01',
    bindings: { MIZAN_CACHE_SECRET: SECRET, MIZAN_PURGE_TOKEN: cdn.token, JWT_SECRET, ...bindings },
    // Past Miniflare's own entry, which goes on when a client leaves.
    unsafeDirectSockets: [{}],
    ...(typeof origin !== 'string' && { outboundService: (request: never) => cdn.handle(request) as never }),
  })
  await runtime.ready
  const address = await runtime.unsafeGetDirectURL()
  const send = async (path: string, init: RequestInit = {}): Promise<Received> => {
    const response = await runtime.dispatchFetch(`https://shop.example${path}`, {
      redirect: 'manual',
      ...init,
    } as never)
    // The one place that sees all: whoever does not speak the protocol must not keep what it says.
    if (path.startsWith(BASE)) expect(response.headers.get('Cache-Control')).toBe('no-store')
    return { status: response.status, headers: response.headers as never, text: await response.text() }
  }
  return {
    cdn,
    failures,
    address,
    fetch: send,
    call: (fn, args, token) =>
      send(`${BASE}call/`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...bearer(token) },
        body: JSON.stringify({ fn, args }),
      }),
    stop: () => runtime.dispose(),
  }
}

/** The header of a signed-in user. */
export function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { Authorization: `Bearer ${token}` }
}

/** A token of the login that the Worker trusts. */
export function signIn(
  user: string,
  claims: { audience?: string; issuer?: string; expires?: string } = {},
): Promise<string> {
  const { audience = 'shop', issuer = 'https://login.example', expires = '1h' } = claims
  return new SignJWT()
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(user)
    .setAudience(audience)
    .setIssuer(issuer)
    .setExpirationTime(expires)
    .sign(new TextEncoder().encode(JWT_SECRET))
}
