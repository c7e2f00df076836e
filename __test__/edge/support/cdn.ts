/**
 * A stand-in for the CDN, at the place where a Worker's requests go out: it caches as the request's `cf` object says, and
 * purges by tag through the API. Where the real one does more for safety (it drops `Set-Cookie` from what it stores), this
 * one does not: the Worker must not depend on it.
 */

import type { Request as WorkerRequest } from 'miniflare'

/** How the Worker asked for a request to be cached. */
export interface CfSettings {
  cacheEverything?: boolean
  cacheKey?: string
  cacheTags?: string[]
  cacheTtlByStatus?: Record<string, number>
}

interface Entry {
  readonly status: number
  readonly headers: [string, string][]
  readonly body: Uint8Array<ArrayBuffer>
  readonly tags: readonly string[]
  readonly expires: number
}

/** One call of the purge API. */
export interface PurgeCall {
  readonly tags: readonly string[]
  readonly status: number
}

/** What passed through to the origin. */
export interface Fetched {
  readonly url: URL
  readonly method: string
  readonly headers: Headers
  readonly cf: CfSettings
}

const API = /^\/client\/v4\/zones\/([^/]+)\/purge_cache$/
const MAX_TAGS = 100
/** What the browser's connection to the CDN is about, and what `fetch` decides itself. */
const NOT_FORWARDED = ['host', 'connection', 'content-length', 'transfer-encoding', 'accept-encoding']

export class Cdn {
  readonly zoneId = '023e105f4ecef8ad9ca31a8372d0c353'
  readonly token = 'a token that may purge'
  readonly entries = new Map<string, Entry>()
  readonly purgeCalls: PurgeCall[] = []
  readonly fetched: Fetched[] = []
  /** Zones below the highest plan know no cache keys: there it is the address. */
  honoursCacheKey = true
  /** A zone may have a rule that caches whatever no request decides otherwise. */
  cachesByDefault = false
  /** How the API answers instead, while there is one. */
  apiFailure: (() => Promise<Response> | Response) | null = null
  #now = 0
  readonly #origin: (request: Request) => Promise<Response>
  readonly #others: (request: Request) => Promise<Response> | Response

  constructor(
    origin: (request: Request) => Promise<Response>,
    others: (request: Request) => Promise<Response> | Response = () => new Response(null, { status: 404 }),
  ) {
    this.#origin = origin
    this.#others = others
  }

  /** Lets time pass for what is stored. */
  advance(seconds: number): void {
    this.#now += seconds
  }

  get hits(): number {
    return this.#hits
  }
  #hits = 0

  async handle(request: WorkerRequest): Promise<Response> {
    const url = new URL(request.url)
    if (url.hostname === 'api.cloudflare.com') return this.#api(url, request)
    const body = ['GET', 'HEAD'].includes(request.method) ? null : new Uint8Array(await request.arrayBuffer())
    const headers = new Headers([...request.headers].filter(([name]) => !NOT_FORWARDED.includes(name)))
    const forwarded = new Request(url, { method: request.method, headers, body, redirect: 'manual' })
    if (url.hostname !== 'origin.example') return this.#others(forwarded)
    return this.#cached(forwarded, url, (request.cf ?? {}) as CfSettings)
  }

  async #cached(request: Request, url: URL, cf: CfSettings): Promise<Response> {
    const eligible = request.method === 'GET' && (cf.cacheEverything === true || this.cachesByDefault)
    if (!eligible) return this.#fetch(request, url, cf)
    const key = this.honoursCacheKey && cf.cacheKey !== undefined ? cf.cacheKey : url.href
    const entry = this.entries.get(key)
    if (entry !== undefined && entry.expires > this.#now) {
      this.#hits += 1
      return respond(entry, 'HIT')
    }
    const response = await this.#fetch(request, url, cf)
    const fetched: Entry = {
      status: response.status,
      headers: [...response.headers].filter(([name]) => name !== 'cache-tag'),
      body: new Uint8Array(await response.arrayBuffer()),
      tags: (cf.cacheTags ?? []).map((tag) => tag.toLowerCase()),
      expires: this.#now + ttlOf(response.status, cf.cacheTtlByStatus ?? { '200-299': 3600 }),
    }
    if (fetched.expires > this.#now) this.entries.set(key, fetched)
    return respond(fetched, 'MISS')
  }

  #fetch(request: Request, url: URL, cf: CfSettings): Promise<Response> {
    this.fetched.push({ url, method: request.method, headers: new Headers(request.headers), cf })
    return this.#origin(request)
  }

  async #api(url: URL, request: WorkerRequest): Promise<Response> {
    const { tags } = (await request.json()) as { tags: string[] }
    const response = (await this.apiFailure?.()) ?? this.#purge(url, request, tags)
    this.purgeCalls.push({ tags, status: response.status })
    return response
  }

  #purge(url: URL, request: WorkerRequest, tags: string[]): Response {
    const refuse = (status: number, code: number) =>
      Response.json({ success: false, errors: [{ code, message: 'refused' }], messages: [], result: null }, { status })
    if (request.method !== 'POST') return refuse(405, 10405)
    if (request.headers.get('Authorization') !== `Bearer ${this.token}`) return refuse(403, 10000)
    if (API.exec(url.pathname)?.[1] !== this.zoneId) return refuse(404, 7003)
    if (!Array.isArray(tags) || tags.length === 0 || tags.length > MAX_TAGS) return refuse(400, 1094)
    const purged = new Set(tags.map((tag) => tag.toLowerCase()))
    for (const [key, entry] of this.entries) {
      if (entry.tags.some((tag) => purged.has(tag))) this.entries.delete(key)
    }
    return Response.json({ success: true, errors: [], messages: [], result: { id: this.zoneId } })
  }
}

function ttlOf(status: number, ttlByStatus: Readonly<Record<string, number>>): number {
  for (const [range, ttl] of Object.entries(ttlByStatus)) {
    const [from = 0, to = from] = range.split('-').map(Number)
    if (status >= from && status <= to) return ttl
  }
  return -1
}

function respond({ status, headers, body }: Entry, cacheStatus: string): Response {
  const response = new Response([204, 304].includes(status) ? null : body, { status, headers })
  response.headers.set('CF-Cache-Status', cacheStatus)
  return response
}
