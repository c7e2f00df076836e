/** How a body came about. */
export type Outcome =
  /** It was stored, or another process stored it while this one waited. */
  | 'hit'
  /** Its functions ran, holding the lease. */
  | 'loaded'
  /** Its functions ran for another caller of this process. */
  | 'joined'
  /** Its functions ran, and nothing is stored. */
  | 'bypassed'

const STATUS: Readonly<Record<Outcome, string>> = {
  hit: 'mizan; hit',
  loaded: 'mizan; fwd=miss',
  joined: 'mizan; fwd=miss; collapsed',
  bypassed: 'mizan; fwd=bypass',
}

/** The `Cache-Status` header (RFC 9211). It leaves out `stored`: the answer does not wait for the store. */
export function cacheStatus(outcome: Outcome): Record<string, string> {
  return { 'Cache-Status': STATUS[outcome] }
}
