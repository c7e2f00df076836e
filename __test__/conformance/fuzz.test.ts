/** Calls of every class of protocol.md §1, generated anew in each run: Rust, Node and Python must say the same. */

import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { casesNearTheLimit, commonKindCount } from '../support/cases.ts'
import { addonParties, deriveThroughAddon } from '../support/cases-addon.ts'
import { campaign } from '../support/cases-campaign.ts'
import { type Filter, inProcess, python, rust } from '../support/cases-parties.ts'
import { portBy, type Rules, rules } from '../support/cases-wrong-ports.ts'

const CASES = 5_000
const seed = randomInt(2 ** 31)

let inPython: Filter
let inRust: Filter

beforeAll(async () => {
  inPython = python()
  inRust = rust()
  await inRust.ready()
}, 600_000)

afterAll(async () => {
  await Promise.all([inPython.close(), inRust.close()])
})

test(`Rust, Node and Python agree on ${CASES} generated calls (seed ${seed})`, { timeout: 300_000 }, async () => {
  const kinds = await campaign([...addonParties, inPython, inRust], CASES, seed)
  expect(kinds.size, 'every common kind of call was among them').toBeGreaterThanOrEqual(commonKindCount)
})

test(`they agree to the byte on what is too long (seed ${seed})`, { timeout: 300_000 }, async () => {
  await campaign([...addonParties, inPython, inRust], 30, seed, casesNearTheLimit)
})

describe('the comparison', () => {
  /** Refuses what the addon refuses, so that only the bytes can be wrong. */
  const portParty = (changed: Partial<Rules>) => {
    const derive = portBy({ ...rules, ...changed })
    return inProcess('a port', (...call) => {
      deriveThroughAddon(...call)
      return derive(...call)
    })
  }

  test('finds nothing in a port that is right', { timeout: 120_000 }, async () => {
    await campaign([inPython, portParty({})], 2_000, seed)
  })

  test.each<[string, Partial<Rules>]>([
    ['sorts by the rules of a language', { order: (left, right) => left.localeCompare(right) }],
    ['sorts by UTF-16 unit', { order: (left, right) => (left < right ? -1 : 1) }],
    ['leaves DEL as it is', { escaped: /[\x80-\uffff]/g }],
    ['leaves Latin-1 as it is', { escaped: /[\x7f\u0100-\uffff]/g }],
    ['lays out small numbers as JavaScript does', { number: String }],
    ['rounds to 16 digits', { number: (value) => rules.number(Number(value.toPrecision(16))) }],
    ['writes the sign of zero', { number: (value) => (Object.is(value, -0) ? '-0' : rules.number(value)) }],
  ])('finds a port that %s', { timeout: 120_000 }, async (_, changed) => {
    await expect(campaign([inPython, portParty(changed)], CASES, seed)).rejects.toThrow(
      /different keys from (Python and a port|a port and Python)/,
    )
  })
})
