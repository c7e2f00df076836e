/** How the Worker tells the origin who asks, so that no client can. */

import { longSecretBytes, Signer } from './signer.ts'

/** Carries the user that the Worker has established: `<unix seconds>.<HMAC-SHA256>.<percent-encoded id>`. */
export const IDENTITY_HEADER = 'X-Mizan-Identity'

/** How long a signed identity is believed, and how far ahead of the origin the Worker's clock may be. */
const MAX_AGE_SECONDS = 60

/** The header's value for a user. */
export async function signIdentity(signer: Signer, user: string): Promise<string> {
  const time = String(nowInSeconds())
  return `${time}.${await signer.sign(signedText(time, user))}.${encodeURIComponent(user)}`
}

/**
 * What the origin authenticates with behind a Worker: `createOrigin({ authenticate: identityFromEdge({ secret }) })`.
 *
 * @param options.secret the one that the Worker has as `MIZAN_CACHE_SECRET`
 */
export function identityFromEdge(options: {
  secret: string | Uint8Array
}): (request: { headers: { get(name: string): string | null } }) => Promise<{ id: string } | null> {
  const signer = new Signer(longSecretBytes(options.secret, 'options.secret'))
  return async ({ headers }) => {
    const [, time, signature, encoded] =
      /^(\d{1,12})\.([0-9a-f]{64})\.(.+)$/.exec(headers.get(IDENTITY_HEADER) ?? '') ?? []
    if (time === undefined || signature === undefined || encoded === undefined) return null
    if (Math.abs(nowInSeconds() - Number(time)) > MAX_AGE_SECONDS) return null
    const user = decode(encoded)
    return user !== null && (await signer.verify(signedText(time, user), signature)) ? { id: user } : null
  }
}

/** Begins unlike any canonical form, so that neither passes for the other though one secret signs both. */
function signedText(time: string, user: string): string {
  return `mizan identity\n${time}\n${user}`
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

function nowInSeconds(): number {
  return Math.floor(Date.now() / 1000)
}
