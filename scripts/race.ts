/**
 * `npm run race -- [--reads n] [--variant-reads n] [--processes n]`: a million reads in a race with purges, and a million
 * with copies in the processes, none of which may be older than a purge that had completed; then the variants, each of
 * which must be caught.
 */

import { parseArgs } from 'node:util'
import { race } from '../__test__/race/campaign.ts'
import type { Tally } from '../__test__/race/tally.ts'
import { CAUGHT_VARIANTS } from '../__test__/race/variants.ts'
import { findPython } from './python.mjs'

const { values } = parseArgs({
  options: {
    reads: { type: 'string', default: '1000000' },
    'variant-reads': { type: 'string', default: '100000' },
    processes: { type: 'string', default: '3' },
  },
})
const [reads, variantReads, processes] = [values.reads, values['variant-reads'], values.processes].map((text) => {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 1) throw new Error('each option takes a positive integer')
  return number
}) as [number, number, number]
const python = await findPython()
let isAsItShouldBe = true

function row(cells: readonly (string | number)[]): void {
  console.log(`| ${cells.map((cell) => cell.toLocaleString('en')).join(' | ')} |`)
}

function show(name: string, tally: Tally, holds: boolean): void {
  const { served, scopedPurges, broadPurges, fills, refusedFills, stale } = tally
  row([name, served, scopedPurges, broadPurges, fills, refusedFills, stale])
  if (tally.lagging > 0) {
    console.log(
      `  ${tally.lagging} reads before word of another process's purge, ${Math.ceil(tally.longestLag)} ms at most`,
    )
  }
  if (tally.deferredPurges > 0) console.log(`  ${tally.deferredPurges} purges were postponed, and not waited for`)
  if (!holds) {
    console.log(`  NOT AS IT SHOULD BE${tally.example === null ? '' : `: ${tally.example}`}`)
    isAsItShouldBe = false
  }
}

row(['', 'reads', 'scoped purges', 'broad purges', 'fills stored', 'fills refused', 'stale reads'])
row(['---', '---:', '---:', '---:', '---:', '---:', '---:'])
const specified = await race({ variant: 'as specified', reads, processes, python })
show('as specified', specified, specified.stale === 0)
const local = await race({ variant: 'as specified', reads, processes, python, localBytes: 1_000_000 })
show('as specified, with a local tier', local, local.stale === 0)
for (const variant of CAUGHT_VARIANTS) {
  const tally = await race({ variant, reads: variantReads, processes })
  show(variant, tally, tally.stale > 0)
}
process.exitCode = isAsItShouldBe ? 0 : 1
