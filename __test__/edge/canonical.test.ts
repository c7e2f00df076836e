/** The edge's keys are those of the addon, for calls of every class of protocol.md §1, and it refuses the same. */

import { randomInt } from 'node:crypto'
import { expect, test } from 'vitest'
import { canonicalForm as formOfAddon } from '../../cache/canonical.ts'
import { canonicalForm } from '../../edge/canonical.ts'
import { deriveCacheKey } from '../../edge/index.ts'
import { addonParties } from '../support/cases-addon.ts'
import { campaign } from '../support/cases-campaign.ts'
import type { Outcome, Party } from '../support/cases-parties.ts'
import { decodeCall } from '../support/cases-wire.ts'
import { wrongValues } from '../support/cases-wrong-types.ts'

const CASES = 5_000
const seed = randomInt(2 ** 31)

const edge: Party = {
  name: 'the edge',
  language: 'js',
  answer: (cases) =>
    Promise.all(
      cases.map(async ({ call, shape }): Promise<Outcome> => {
        const { secret, context, params, userId, rev } = decodeCall(call, shape)
        try {
          return {
            key: await deriveCacheKey(
              secret as never,
              context as never,
              params as never,
              userId as never,
              rev as never,
            ),
          }
        } catch (error) {
          const { code, message } = error as { code?: string; message?: string }
          return { error: String(code), message: String(message) }
        }
      }),
    ),
}

test(`the edge and the addon agree on ${CASES} generated calls (seed ${seed})`, { timeout: 300_000 }, async () => {
  const kinds = await campaign([...addonParties, edge], CASES, seed)
  expect([...kinds.values()].reduce((sum, count) => sum + count)).toBe(CASES)
})

test.each(wrongValues.map(({ name, make }) => [name, make] as const))(
  '%s is to the edge what it is to the addon',
  (_name, make) => {
    const positions = [
      () => [make(), {}, null, 0],
      () => ['user', make(), null, 0],
      () => ['user', { a: make() }, null, 0],
      () => ['user', { a: [{ b: make() }] }, null, 0],
      () => ['user', {}, make(), 0],
      () => ['user', {}, null, make()],
    ] as const
    for (const [index, call] of positions.entries()) {
      expect(formOrCode(canonicalForm as never, call()), `position ${index}`).toBe(
        formOrCode(formOfAddon as never, call()),
      )
    }
  },
)

function formOrCode(write: (...call: readonly unknown[]) => string, call: readonly unknown[]): string {
  try {
    return write(...call)
  } catch (error) {
    return String((error as { code?: string }).code)
  }
}
