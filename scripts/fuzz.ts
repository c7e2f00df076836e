/** `npm run fuzz -- --cases 100000 [--seed n]`: the differential test of the conformance suite, as long as one likes. */

import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { addonParties } from '../__test__/support/cases-addon.ts'
import { campaign } from '../__test__/support/cases-campaign.ts'
import { python, rust } from '../__test__/support/cases-parties.ts'

const { values } = parseArgs({ options: { cases: { type: 'string', default: '100000' }, seed: { type: 'string' } } })
const count = Number(values.cases)
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)
if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed)) {
  throw new Error('--cases takes a positive integer, --seed an integer')
}

const filters = [python(), rust()]
const parties = [...addonParties, ...filters]
console.log(`${count} calls, seed ${seed}: ${parties.map(({ name }) => name).join(', ')}`)
const start = performance.now()
try {
  const kinds = await campaign(parties, count, seed)
  console.table(Object.fromEntries([...kinds].sort(([, left], [, right]) => right - left)))
  console.log(`0 disagreements in ${count} calls, ${Math.round((performance.now() - start) / 1000)} s`)
} finally {
  await Promise.all(filters.map((filter) => filter.close()))
}
