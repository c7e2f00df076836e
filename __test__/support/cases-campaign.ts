/** The differential test: every party is given the same calls, and all must say the same of each. */

import fc from 'fast-check'
import { type Case, cases } from './cases.ts'
import type { Outcome, Party } from './cases-parties.ts'

/** Filters answer a batch while this process derives its own keys for it. */
const BATCH = 500

interface Disagreement {
  index: number
  reason: string
}

/** What is wrong with the parties' answers to a case, if anything is. */
function judge({ expected, expressibleIn, faultIn }: Case, answers: Map<Party, Outcome>): string | undefined {
  const keys = new Map<string, string>()
  for (const [{ name, language }, outcome] of answers) {
    if (!expressibleIn.includes(language)) continue
    if ('key' in outcome) {
      if (expected !== 'key') return `${name} gives a key, expected ${expected}`
      keys.set(outcome.key, name)
    } else if (expected === 'error' ? !outcome.error.startsWith('ERR_MIZAN_') : outcome.error !== expected) {
      return `${name} gives ${outcome.error} (${outcome.message}), expected ${expected}`
    } else if (faultIn !== undefined && !outcome.message.includes(faultIn)) {
      return `${name} says "${outcome.message}", which does not name ${faultIn}`
    }
  }
  return keys.size > 1 ? `different keys from ${[...keys.values()].join(' and ')}` : undefined
}

async function firstDisagreement(parties: Party[], batch: Case[]): Promise<Disagreement | undefined> {
  const answers = await Promise.all(
    parties.map(async (party) => {
      const expressible = batch.filter(({ expressibleIn }) => expressibleIn.includes(party.language))
      const outcomes = await party.answer(expressible)
      return new Map(expressible.map((subject, position) => [subject, outcomes[position] as Outcome]))
    }),
  )
  for (const [index, subject] of batch.entries()) {
    const given = parties.flatMap((party, position): [Party, Outcome][] => {
      const outcome = answers[position]?.get(subject)
      return outcome === undefined ? [] : [[party, outcome]]
    })
    const reason = judge(subject, new Map(given))
    if (reason !== undefined) return { index, reason }
  }
  return undefined
}

/**
 * Asks the parties about `count` generated calls. A disagreement is thrown, with the smallest call that still shows it
 * and the seed that repeats it. Resolves to how many calls of each kind there were.
 */
export async function campaign(parties: Party[], count: number, seed: number): Promise<Map<string, number>> {
  const kinds = new Map<string, number>()
  for (let done = 0; done < count; done += BATCH) {
    const batchSeed = seed + done / BATCH
    const batch = fc.sample(cases, { seed: batchSeed, numRuns: Math.min(BATCH, count - done) })
    for (const { kind } of batch) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    const found = await firstDisagreement(parties, batch)
    if (found !== undefined) await throwSmallest(parties, batchSeed, found)
  }
  return kinds
}

async function throwSmallest(parties: Party[], seed: number, { index, reason }: Disagreement): Promise<never> {
  const property = fc.asyncProperty(cases, async (subject) => {
    const found = await firstDisagreement(parties, [subject])
    if (found !== undefined) throw new Error(found.reason)
  })
  const { counterexample, errorInstance } = await fc.check(property, { seed, path: String(index), numRuns: 1 })
  throw new Error(
    `${errorInstance instanceof Error ? errorInstance.message : reason}\n` +
      `${JSON.stringify(counterexample?.[0]).slice(0, 2_000)}\n` +
      `Repeat it with: npm run fuzz -- --seed ${seed} --cases ${index + 1}`,
  )
}
