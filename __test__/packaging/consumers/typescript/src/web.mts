import { Cache } from '@mizan/cache'
import { createEdgeWorker, type EdgeWorker } from '@mizan/cache/edge'
import { createOrigin, identityFromEdge, type Manifest, type Origin } from '@mizan/cache/origin'

const secret = 'a secret of thirty-two bytes or more'
const cache = new Cache({ secret })
const origin: Origin<{ id: string }> = createOrigin({ cache, authenticate: identityFromEdge({ secret }) })
origin.context('news', { functions: { headline: () => 'Typings fit' } })
const rename = origin.mutation('publish', { affects: ['news'], run: () => 1 })

const response: Response = await origin.fetch(new Request('http://localhost/api/mizan/ctx/news/'))
const { result }: { readonly result: number } = await rename({})
const manifest: Manifest = origin.manifest()
const worker: EdgeWorker<{ MIZAN_CACHE_SECRET: string }> = createEdgeWorker({ manifest, origin: 'https://example.com' })
if ((await response.text()) !== '{"headline":"Typings fit"}' || result !== 1 || typeof worker.fetch !== 'function') {
  throw new Error('the origin does not do what its types say')
}
await cache.close()
