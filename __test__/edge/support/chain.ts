/** Browser, Worker, CDN, origin, Redis: all of them, each speaking to the next as it would. */

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Cache } from '../../../cache/index.ts'
import { identityFromEdge, type Origin } from '../../../origin/index.ts'
import { RedisServer } from '../../support/redis-server.ts'
import { type Edge, SECRET, startEdge } from './edge.ts'

export interface Chain {
  readonly cache: Cache
  readonly edge: Edge
  stop(): Promise<void>
}

type AnyOrigin = Pick<Origin<never>, 'manifest' | 'node'>

/** Starts the chain in front of an origin, which authenticates by what the Worker tells it. */
export async function startChain(
  makeOrigin: (cache: Cache, authenticate: ReturnType<typeof identityFromEdge>) => AnyOrigin,
): Promise<Chain> {
  const redis = await RedisServer.start()
  const cache = new Cache({ secret: SECRET, redisUrl: redis.url })
  const origin = makeOrigin(cache, identityFromEdge({ secret: SECRET }))
  const server = createServer(origin.node).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const edge = await startEdge({
    manifest: origin.manifest(),
    origin: async (request) => {
      const { pathname, search } = new URL(request.url)
      return fetch(new Request(`http://127.0.0.1:${port}${pathname}${search}`, request))
    },
  })
  return {
    cache,
    edge,
    async stop() {
      await edge.stop()
      await new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      })
      await cache.close()
      await redis.stop()
    },
  }
}
