/** A Worker whose users come with tokens that are verified by public keys. */

import { createEdgeWorker, type EdgeEnv, type EdgeManifest, type EdgeWorker, identifyJwt } from '../../../edge/index.ts'

declare const MANIFEST: EdgeManifest
declare const ZONE_ID: string

const worker: EdgeWorker<EdgeEnv> = createEdgeWorker({
  manifest: MANIFEST,
  origin: 'https://origin.example',
  identify: identifyJwt({
    jwks: 'https://login.example/jwks.json',
    algorithms: ['ES256'],
    audience: 'shop',
    issuer: 'https://login.example',
  }),
  purge: { zoneId: ZONE_ID },
})

export default worker
