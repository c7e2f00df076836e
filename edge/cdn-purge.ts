/** One call of the CDN's purge API. */

/** Which zone is purged, and by whose leave. */
export interface PurgeAccess {
  readonly zoneId: string
  readonly token: string
}

/** What came of a call. */
export type PurgeAnswer =
  | { readonly purged: true }
  | {
      readonly purged: false
      /** In words, without the token. */
      readonly reason: string
      /** Whether the same call can succeed later. */
      readonly passing: boolean
      /** What the API asks to wait before the next call, or 0. */
      readonly waitMs: number
    }

/** How many tags the API takes in a call. */
export const MAX_TAGS = 100

const API = 'https://api.cloudflare.com/client/v4'
const CALL_TIMEOUT_MS = 3000

/** Purges whatever carries one of the tags. Never rejects. */
export async function purgeByTag({ zoneId, token }: PurgeAccess, tags: readonly string[]): Promise<PurgeAnswer> {
  try {
    const response = await fetch(`${API}/zones/${encodeURIComponent(zoneId)}/purge_cache`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify({ tags }),
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    })
    const answer = (await response.json().catch(() => null)) as { success?: unknown } | null
    if (response.ok && answer?.success === true) return { purged: true }
    const { status } = response
    return {
      purged: false,
      reason: `the purge API answered ${status}`,
      passing: response.ok || status === 408 || status === 429 || status >= 500,
      waitMs: 1000 * (Number(response.headers.get('Retry-After')) || 0),
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { purged: false, reason: `the purge API could not be reached: ${reason}`, passing: true, waitMs: 0 }
  }
}
