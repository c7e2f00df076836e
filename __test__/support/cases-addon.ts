/** The addon as a party of the comparison: by each of its ways to a key. */

import { Cache, deriveCacheKey } from '../../cache/index.ts'
import { native } from '../../cache/native.ts'
import { type Derive, inProcess, type Party } from './cases-parties.ts'

/** The secret of most calls; the only one that has a cache. */
export const SECRET = 'canon-v1-test-secret-0123456789abcdef'

export const deriveThroughAddon = deriveCacheKey as Derive

/** Every call is read by native code, also those whose canonical form the binding can write by itself. */
const deriveNatively: Derive = (secret, context, params, userId, rev) =>
  native.createSigner(secret)(native.canonicalForm(context, params, userId, rev))

let cache: Cache | undefined
const deriveThroughCache: Derive = (secret, context, params, userId, rev) => {
  if (secret !== SECRET) return deriveThroughAddon(secret, context, params, userId, rev)
  cache ??= new Cache({ secret })
  return cache.deriveKey(context, params, { userId, rev })
}

export const addonParties: Party[] = [
  inProcess('deriveCacheKey', deriveThroughAddon),
  inProcess('the native canonical form', deriveNatively),
  inProcess('Cache.deriveKey', deriveThroughCache),
]
