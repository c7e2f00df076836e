/**
 * A short run of `npm run race`. That it can find what it looks for is shown by the variants: each leaves out one detail
 * of protocol.md §5, and is caught.
 */

import { expect, test } from 'vitest'
import { findPython } from '../../scripts/python.mjs'
import { race } from './campaign.ts'
import { CAUGHT_VARIANTS } from './variants.ts'

test.each([
  { title: 'no read is older than a purge that had completed when it began', localBytes: null },
  { title: 'with a local tier, none is older than a purge of the same process', localBytes: 1_000_000 },
])('$title', async ({ localBytes }) => {
  const tally = await race({ variant: 'as specified', reads: 5_000, python: await findPython(), localBytes })
  expect(tally).toMatchObject({ stale: 0, example: null, deferredPurges: 0 })
  // There were races: purges of both kinds, and fills that came too late.
  expect(Math.min(tally.scopedPurges, tally.broadPurges, tally.refusedFills)).toBeGreaterThan(0)
})

test.each(CAUGHT_VARIANTS)('%s is caught', async (variant) => {
  const tally = await race({ variant, reads: 1_000_000, untilStale: true, processes: 2 })
  expect(tally.stale).toBeGreaterThan(0)
})
