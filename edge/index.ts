/** The Mizan cache at the CDN: an Edge Worker that derives the same keys, and turns what mutations change into purges. */

export type { EdgeContext, EdgeEnv, EdgeOptions, EdgePurge, EdgeWorker } from './create-edge-worker.ts'
export { createEdgeWorker } from './create-edge-worker.ts'
export type { JwtOptions } from './jwt.ts'
export { identifyJwt } from './jwt.ts'
export { deriveCacheKey } from './key.ts'
export type { EdgeManifest, EdgeManifestContext } from './manifest.ts'
export type { PurgeFailure } from './purge-queue.ts'
