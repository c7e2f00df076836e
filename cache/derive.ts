/** The key of a call, without a cache. */

import { canonicalForm, type Params } from './canonical.ts'
import { native } from './native.ts'

let lastSecret: string | undefined
let lastSign: (canonical: string) => string

/**
 * Derives the key of a call: `ctx:{context}:` and the HMAC-SHA256 of its canonical form, in lowercase hex. All
 * implementations of the protocol derive the same key from the same arguments.
 *
 * @param secret - Text, taken as its UTF-8, or bytes; not empty.
 * @param context - Matches `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
 * @param params - A plain object; `undefined` and `null` mean `{}`. Nested at most 32 deep, `params` being the first.
 * @param userId - Whose entry it is: a string or an integer. `undefined` and `null` mean nobody's; `''` and `0` do not.
 * @param rev - An integer from 0, the default, to 2^53 − 1.
 * @returns The key.
 * @throws An `Error` with a `code`: `ERR_MIZAN_SECRET`, `ERR_MIZAN_CONTEXT`, `ERR_MIZAN_PARAM_TYPE`,
 * `ERR_MIZAN_PARAM_NUMBER`, `ERR_MIZAN_SURROGATE`, `ERR_MIZAN_DEPTH`, `ERR_MIZAN_SIZE`, `ERR_MIZAN_USER` or
 * `ERR_MIZAN_REV`. Its message names the place, as `params.user.id`, and never a value.
 */
export function deriveCacheKey(
  secret: string | Uint8Array,
  context: string,
  params?: Params | null,
  userId?: string | number | bigint | null,
  rev?: number,
): string {
  const canonical = canonicalForm(context, params, userId, rev)
  // Bytes may be changed by their owner in between; text is mostly that of the call before.
  if (typeof secret !== 'string') {
    return native.deriveKey(secret, canonical)
  }
  if (secret !== lastSecret) {
    lastSign = native.createSigner(secret)
    lastSecret = secret
  }
  return lastSign(canonical)
}
