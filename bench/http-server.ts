/**
 * One arm of `cases/http.ts`: a server of one document, of so many bytes, in a process of its own.
 * Arguments: the arm, the bytes, the URL of the Redis.
 */

import type { ServerResponse } from 'node:http'
import type * as addon from '@mizan/cache'
import type * as origins from '@mizan/cache/origin'
import { Redis } from 'ioredis'
import { z } from 'zod'
import { Cache } from './built.ts'
import { SECRET } from './entries.ts'
import { FASTEST } from './peers/ioredis.ts'
import { TTL } from './peers/peer.ts'
import { deriveCacheKey } from './port.ts'
import { PortCache } from './port-cache.ts'
import { type Handler, serve } from './serve.ts'

/** As `built.ts`. */
const { createOrigin }: typeof origins = await import(new URL('../dist/origin.mjs', import.meta.url).href)

const [arm = '', bytes = '', redisUrl = ''] = process.argv.slice(2)

const parameters = z.object({ document_id: z.coerce.number().int() })

/** Something that makes a bundle of exactly so many bytes. */
function loadDocument(id: number): object {
  const empty = JSON.stringify({ document: { id, text: '' } }).length
  return { id, text: 'Lorem ipsum dolor sit amet. '.repeat(Number(bytes)).slice(0, Number(bytes) - empty) }
}

/** No cache and no dispatch: as fast as node:http is. */
function constant(encode: (text: string) => string | Buffer): Handler {
  const body = encode(JSON.stringify({ document: loadDocument(1) }))
  return (_request, response) => send(response, body, 'mizan; hit')
}

/** The keys are the origin's too, the database is not: a lease stands where the port expects a body. */
function redisOfPort(): Redis {
  return new Redis(redisUrl, { ...FASTEST, db: 1 })
}

/** No dispatch to speak of: one route, on the hand-written key and ioredis. */
function byHand(): Handler {
  const redis = redisOfPort()
  return async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost')
    const params = parameters.safeParse(Object.fromEntries(searchParams))
    if (request.method !== 'GET' || pathname !== '/api/mizan/ctx/document/' || !params.success) {
      response.writeHead(404, { 'Cache-Control': 'no-store' }).end()
      return
    }
    const key = deriveCacheKey(SECRET, 'document', params.data)
    const stored = await redis.get(key)
    const body = stored ?? JSON.stringify({ document: loadDocument(params.data.document_id) })
    if (stored === null) await redis.set(key, body, 'EX', TTL)
    send(response, body, stored === null ? 'mizan; fwd=miss' : 'mizan; hit')
  }
}

function ours(options: Partial<addon.CacheOptions>): Handler {
  return dispatchOn(new Cache({ secret: SECRET, ...options }))
}

function dispatchOn(cache: origins.OriginCache): Handler {
  const origin = createOrigin({ cache })
  origin.context('document', {
    params: parameters,
    functions: { document: ({ document_id }) => loadDocument(document_id) },
  })
  return origin.node
}

/** The headers of the origin, and its way to write bodies that are ASCII, as these are. */
function send(response: ServerResponse, body: string | Buffer, cacheStatus: string): void {
  const length = Buffer.byteLength(body)
  response.writeHead(200, {
    'Cache-Status': cacheStatus,
    'Content-Type': 'application/json',
    'Cache-Control': 'no-store',
    'Content-Length': length,
  })
  response.end(body, length > 16_384 ? 'ascii' : 'latin1')
}

const handlers: Record<string, () => Handler> = {
  text: () => constant((text) => text),
  bytes: () => constant((text) => Buffer.from(text)),
  port: () => dispatchOn(new PortCache(SECRET, redisOfPort())),
  'by hand': byHand,
  memory: () => ours({}),
  redis: () => ours({ redisUrl, local: false }),
  copies: () => ours({ redisUrl }),
}
const handler = handlers[arm]
if (handler === undefined) throw new Error(`there is no arm ${arm}`)

serve(handler())
