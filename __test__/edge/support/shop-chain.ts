/** Browser, Worker, CDN, origin, Redis: the shop behind all of them. */

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Cache } from '../../../binding/index.ts'
import { identityFromEdge } from '../../../edge/index.ts'
import { RedisServer } from '../../support/redis-server.ts'
import { type Edge, SECRET, startEdge } from './edge.ts'
import { Shop, shopOrigin } from './shop.ts'

export interface ShopChain {
  readonly shop: Shop
  readonly cache: Cache
  readonly edge: Edge
  stop(): Promise<void>
}

export async function startShopChain(): Promise<ShopChain> {
  const redis = await RedisServer.start()
  const shop = new Shop()
  const cache = new Cache({ secret: SECRET, redisUrl: redis.url })
  const origin = shopOrigin(shop, { cache, authenticate: identityFromEdge({ secret: SECRET }) })
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
    shop,
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
