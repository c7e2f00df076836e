/**
 * The addon's deriveCacheKey against the hand-written port, in one process. Every round times every arm, in an order
 * that rotates, so that what the machine does meanwhile meets all of them; a ratio is of two arms of one round. The
 * addon runs twice: the ratio of its two arms is what the noise alone makes.
 */

import { strict as assert } from 'node:assert'
import type * as addon from '@mizan/cache'
import { deriveCacheKey as derivePortKey } from './port.ts'
import { describeHost, median, withSpread } from './statistics.ts'

/** The build, as it is published: what a loader makes of the sources would be another program. */
const { deriveCacheKey }: typeof addon = await import(new URL('../dist/index.mjs', import.meta.url).href)

const SECRET = 'bench-secret-of-more-than-32-bytes-0123456789'
const ROUNDS = 15
const ROUND_MILLISECONDS = 60
/** So many different calls per case that nobody can answer from memory. */
const CALLS = 1_000

const tenParameters = (call: number): addon.Params => ({
  user_id: call,
  page: 3,
  sort: 'created_at',
  locale: 'en-GB',
  limit: 50,
  active: true,
  min_price: 10,
  category: 'books',
  query: `query ${call}`,
  tenant: null,
})

const cases: { name: string; params: (call: number) => addon.Params }[] = [
  { name: 'no parameters', params: () => ({}) },
  { name: '2 parameters', params: (call) => ({ user_id: call, page: 3 }) },
  { name: '10 parameters', params: tenParameters },
  { name: '10 parameters, one a fraction', params: (call) => ({ ...tenParameters(call), min_price: 9.99 + call }) },
  { name: '2 parameters, not ASCII', params: (call) => ({ città: `São Paulo ${call}`, query: '東京 🗼' }) },
  { name: '2 parameters, nested', params: (call) => ({ ids: [call, 1, 2], filter: { from: 'a', to: 'b' } }) },
]

type Derive = (secret: string, context: string, params: addon.Params) => string
const arms: { name: string; derive: Derive }[] = [
  { name: 'addon', derive: deriveCacheKey },
  { name: 'port', derive: derivePortKey },
  { name: 'addon again', derive: deriveCacheKey },
]

/** Nanoseconds of CPU per call: what other programs do meanwhile is not counted. The keys' lengths are added up so that no call is left out. */
function time(derive: Derive, calls: addon.Params[], repetitions: number): number {
  let total = 0
  const start = process.cpuUsage()
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const params of calls) total += derive(SECRET, 'user', params).length
  }
  const { user, system } = process.cpuUsage(start)
  assert.ok(total > 0)
  return ((user + system) * 1_000) / (repetitions * calls.length)
}

const rows: Record<string, string | number>[] = []
for (const { name, params } of cases) {
  const calls = Array.from({ length: CALLS }, (_, call) => params(call))
  for (const call of calls) {
    assert.equal(deriveCacheKey(SECRET, 'user', call), derivePortKey(SECRET, 'user', call), 'the arms must agree')
  }

  const nanoseconds = arms.map((): number[] => [])
  const warm = arms.map(({ derive }) => time(derive, calls, 20))
  const repetitions = warm.map((each) => Math.max(1, Math.round((ROUND_MILLISECONDS * 1e6) / (each * CALLS))))
  for (let round = 0; round < ROUNDS; round++) {
    for (let turn = 0; turn < arms.length; turn++) {
      const arm = (round + turn) % arms.length
      nanoseconds[arm]?.push(time((arms[arm] as (typeof arms)[number]).derive, calls, repetitions[arm] as number))
    }
  }

  const [addon, port, again] = nanoseconds as [number[], number[], number[]]
  rows.push({
    case: name,
    'addon, ns': Math.round(median(addon)),
    'port, ns': Math.round(median(port)),
    'port / addon': withSpread(port.map((each, round) => each / (addon[round] as number))),
    'noise: addon / addon': withSpread(again.map((each, round) => each / (addon[round] as number))),
  })
}

console.log(`deriveCacheKey: medians of ${ROUNDS} rounds; ratios of two arms in one round, least to greatest`)
console.table(rows)
console.log(describeHost())
