/** One request, and what the Worker needs to answer it. */

import type { Routes } from './manifest.ts'
import type { PurgeCaller, PurgeQueue } from './purge-queue.ts'
import type { Signer } from './signer.ts'

export interface Exchange {
  readonly request: Request
  readonly url: URL
  readonly routes: Routes
  /** Scheme, host and port of the origin. */
  readonly origin: string
  readonly signer: Signer
  /** Who asks, or null. Finds out once. */
  readonly identify: () => Promise<string | null>
  /** Null when the Worker may not purge, and so must not cache. */
  readonly purges: { readonly queue: PurgeQueue; readonly caller: PurgeCaller } | null
}

/** Whether the request is for a path of the protocol. */
export function isMizan({ url, routes }: Exchange): boolean {
  return url.pathname.startsWith(routes.base)
}
