/** Context GETs: from the CDN's cache, which fetches from the origin what it has not. */

import { ENTRY_HEADER, KEY_PARAMETER, parseInvalidation } from '../origin/invalidation-header.ts'
import type { Exchange } from './exchange.ts'
import { signKey } from './key.ts'
import type { Route } from './manifest.ts'
import { type CacheSettings, fetchFromOrigin, identityHeaders, passThrough } from './origin-fetch.ts'
import { declaredParams } from './query.ts'
import { contextTag } from './tags.ts'

/** What a shared response may carry. Everything else may be about the one who caused it to be stored. */
const SHARED_HEADERS = ['Content-Type', 'Content-Language', 'Cache-Status', 'Allow', 'Location', 'Retry-After']

type TextParams = Readonly<Record<string, string>>

interface Entry {
  readonly key: string
  readonly tags: string[]
  readonly url: string
}

/** Answers a GET or HEAD of a declared context. */
export async function answerContext(exchange: Exchange, route: Route): Promise<Response> {
  const { routes, url, purges } = exchange
  const user = route.userScoped ? await exchange.identify() : null
  let params = declaredParams(url.search, route.params)
  if (purges === null || route.ttl === 0 || (route.userScoped && user === null) || params === null) {
    return passThrough(exchange)
  }
  // The first spelling may turn out to mean another entry, which is then asked for by its own name.
  for (let spelling = 1; spelling <= 2; spelling++) {
    const entry = await entryOf(exchange, route, params, user)
    if (entry === null || purges.queue.isPending(entry.tags)) break
    const response = await fetchEntry(exchange, route, entry)
    if (!response.ok || !routes.namesEntries || route.params.length === 0) return shared(exchange, response)
    const named = namedParams(response, route)
    if (named !== null && (await entryOf(exchange, route, named, user))?.key === entry.key) {
      return shared(exchange, response)
    }
    await response.body?.cancel()
    if (named === null) break
    params = named
  }
  return passThrough(exchange)
}

/** The entry of a call, or null when no key can be made of it: such a call is not cached. */
async function entryOf(
  { signer, origin, url }: Exchange,
  route: Route,
  params: TextParams,
  user: string | null,
): Promise<Entry | null> {
  try {
    const key = await signKey(signer, route.name, { ...params }, user, route.rev)
    // In the address, the key keeps entries apart also where the zone's plan has no custom cache keys.
    const query = [...route.params.filter((name) => Object.hasOwn(params, name)), KEY_PARAMETER]
      .map((name) => `${name}=${encodeURIComponent(name === KEY_PARAMETER ? key : (params[name] ?? ''))}`)
      .join('&')
    return { key, tags: [contextTag(route.name), key], url: `${origin}${url.pathname}?${query}` }
  } catch {
    return null
  }
}

/** Fetches through the CDN. The request is made anew, of nothing but what is in the key: whoever asks gets the same. */
async function fetchEntry(exchange: Exchange, route: Route, { url, tags }: Entry): Promise<Response> {
  const identity = route.userScoped ? await identityHeaders(exchange) : {}
  const settings: CacheSettings = {
    cacheEverything: true,
    cacheTtlByStatus: { '200-299': route.ttl, '300-599': -1 },
    cacheKey: url,
    cacheTags: tags,
  }
  return fetchFromOrigin(new Request(url, { headers: { Accept: 'application/json', ...identity } }), settings)
}

/** The parameters of the entry that a response says it is, or null when it does not say. */
function namedParams(response: Response, route: Route): TextParams | null {
  const [target, ...others] = parseInvalidation(response.headers.get(ENTRY_HEADER) ?? '')
  if (target === undefined || others.length > 0 || target.context !== route.name) return null
  return target.params ?? {}
}

function shared({ request }: Exchange, response: Response): Response {
  const headers = new Headers()
  for (const name of SHARED_HEADERS) {
    const value = response.headers.get(name)
    if (value !== null) headers.set(name, value)
  }
  const hit = response.headers.get('CF-Cache-Status') === 'HIT'
  headers.append('Cache-Status', hit ? 'mizan-edge; hit' : 'mizan-edge; fwd=miss')
  return new Response(request.method === 'HEAD' ? null : response.body, { status: response.status, headers })
}
