/** What racers have done so far. */
export interface Tally {
  /** Reads that gave a value. */
  reads: number
  /** Those of them that were answered from the cache or from the load of another. */
  served: number
  /** Those that were older than a purge which had completed before they began. */
  stale: number
  scopedPurges: number
  broadPurges: number
  /** Purges that Redis did not take at once, so that other processes need not have seen them. */
  deferredPurges: number
  fills: number
  /** Fills that were turned away, because their lease no longer stood. */
  refusedFills: number
  /** With a local tier, reads that were older than a purge of another process, which it may hear of late. */
  lagging: number
  /** For how long such an entry was still read, in milliseconds. */
  longestLag: number
  example: string | null
}

export const NOTHING: Tally = {
  reads: 0,
  served: 0,
  stale: 0,
  scopedPurges: 0,
  broadPurges: 0,
  deferredPurges: 0,
  fills: 0,
  refusedFills: 0,
  lagging: 0,
  longestLag: 0,
  example: null,
}

export function sum(tallies: readonly Tally[]): Tally {
  return tallies.reduce((left, right) => ({
    reads: left.reads + right.reads,
    served: left.served + right.served,
    stale: left.stale + right.stale,
    scopedPurges: left.scopedPurges + right.scopedPurges,
    broadPurges: left.broadPurges + right.broadPurges,
    deferredPurges: left.deferredPurges + right.deferredPurges,
    fills: left.fills + right.fills,
    refusedFills: left.refusedFills + right.refusedFills,
    lagging: left.lagging + right.lagging,
    longestLag: Math.max(left.longestLag, right.longestLag),
    example: left.example ?? right.example,
  }))
}
