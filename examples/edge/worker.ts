/** The Mizan cache at the CDN, in front of the origin of shop.example. */

import { createEdgeWorker, identifyJwt } from '@mizan/cache/edge'
// What `origin.manifest()` returns, written to a file when the origin is built.
import manifest from './manifest.json' with { type: 'json' }

export default createEdgeWorker({
  manifest,
  origin: 'https://origin.shop.example',
  identify: identifyJwt({
    jwks: 'https://login.shop.example/.well-known/jwks.json',
    algorithms: ['ES256'],
    audience: 'shop',
    issuer: 'https://login.shop.example',
  }),
  purge: { zoneId: '023e105f4ecef8ad9ca31a8372d0c353' },
})
