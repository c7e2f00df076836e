/** Requests to the origin. */

import type { Exchange } from './exchange.ts'
import { isMizan } from './exchange.ts'
import { IDENTITY_HEADER, signIdentity } from './identity.ts'

/** How the CDN is to cache what it fetches, whatever the origin's headers say. */
export interface CacheSettings {
  cacheEverything?: true
  cacheTtlByStatus: Record<string, number>
  cacheKey?: string
  cacheTags?: string[]
}

/** Holds also in a zone whose own rules cache everything. */
const NEVER: CacheSettings = { cacheTtlByStatus: { '100-599': -1 } }

/**
 * Asks the origin; without settings, cached as the zone's own rules say. A redirect is an answer like any other, and the
 * browser's to follow.
 */
export function fetchFromOrigin(request: Request, cf?: CacheSettings): Promise<Response> {
  // `cf` is the Workers runtime's; other fetches do not know it.
  return fetch(request, { ...(cf && { cf }), redirect: 'manual' } as Parameters<typeof fetch>[1])
}

/** Passes the request on as it came, to be answered by the origin itself, with the identity that the Worker established. */
export async function passThrough(exchange: Exchange): Promise<Response> {
  const { request, url, origin } = exchange
  const passed = new Request(origin + url.pathname + url.search, request)
  passed.headers.delete(IDENTITY_HEADER)
  if (!isMizan(exchange)) return fetchFromOrigin(passed)
  for (const [name, value] of Object.entries(await identityHeaders(exchange))) passed.headers.set(name, value)
  const response = await fetchFromOrigin(passed, NEVER)
  const headers = new Headers(response.headers)
  headers.append('Cache-Status', 'mizan-edge; fwd=bypass')
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}

/** Tells the origin who asks, if somebody does. */
export async function identityHeaders({ identify, signer }: Exchange): Promise<Record<string, string>> {
  const user = await identify()
  return user === null ? {} : { [IDENTITY_HEADER]: await signIdentity(signer, user) }
}
