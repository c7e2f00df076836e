/** Keys (`protocol.md` §1). */

import type { Params, UserId } from '../origin/origin-cache.ts'
import { canonicalForm } from './canonical.ts'
import { Signer, secretBytes } from './signer.ts'

/**
 * The key of a call.
 *
 * Imports the secret each time; whoever derives many keys keeps a {@link Signer}.
 */
export async function deriveCacheKey(
  secret: string | Uint8Array,
  context: string,
  params?: Params | null,
  userId?: UserId | null,
  rev?: number,
): Promise<string> {
  return signKey(new Signer(secretBytes(secret)), context, params, userId, rev)
}

/** The key of a call, by a secret that has been imported. */
export async function signKey(
  signer: Signer,
  context: string,
  params?: Params | null,
  userId?: UserId | null,
  rev?: number,
): Promise<string> {
  const digest = await signer.sign(canonicalForm(context, params, userId, rev))
  return `ctx:${context}:${digest}`
}
