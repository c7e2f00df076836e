/** The differential test: every party is given the same calls, and all must say the same of each. */

import fc from 'fast-check'
import { type Case, cases } from './cases.ts'
import type { Outcome, Party } from './cases-parties.ts'

/** Filters answer a batch while this process derives its own keys for it. */
const BATCH = 500

interface Answer {
  /** The party's. */
  name: string
  outcome: Outcome
}

interface Disagreement {
  index: number
  reason: string
}

/** What is wrong with the parties' answers to a case, if anything is. */
function judge({ expected, faultIn }: Case, answers: Answer[]): string | undefined {
  const keys = new Map<string, string>()
  for (const { name, outcome } of answers) {
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
  const answers = new Map(batch.map((subject): [Case, Answer[]] => [subject, []]))
  await Promise.all(
    parties.map(async ({ name, language, answer }) => {
      const expressible = batch.filter(({ expressibleIn }) => expressibleIn.includes(language))
      const outcomes = await answer(expressible)
      for (const [index, subject] of expressible.entries()) {
        answers.get(subject)?.push({ name, outcome: outcomes[index] as Outcome })
      }
    }),
  )
  for (const [index, subject] of batch.entries()) {
    const reason = judge(subject, answers.get(subject) ?? [])
    if (reason !== undefined) return { index, reason }
  }
  return undefined
}

/**
 * Asks the parties about `count` generated calls. A disagreement is thrown, with the smallest call that still shows it
 * and the seed that repeats it. Resolves to how many calls of each kind there were.
 */
export async function campaign(
  parties: Party[],
  count: number,
  seed: number,
  generator = cases,
): Promise<Map<string, number>> {
  const kinds = new Map<string, number>()
  for (let done = 0; done < count; done += BATCH) {
    const batchSeed = seed + done / BATCH
    const batch = fc.sample(generator, { seed: batchSeed, numRuns: Math.min(BATCH, count - done) })
    for (const { kind } of batch) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    const found = await firstDisagreement(parties, batch)
    if (found !== undefined) await throwSmallest(parties, generator, batchSeed, found)
  }
  return kinds
}

async function throwSmallest(
  parties: Party[],
  generator: fc.Arbitrary<Case>,
  seed: number,
  { index, reason }: Disagreement,
): Promise<never> {
  const property = fc.asyncProperty(generator, async (subject) => {
    const found = await firstDisagreement(parties, [subject])
    if (found !== undefined) throw new Error(found.reason)
  })
  const { counterexample, errorInstance } = await fc.check(property, { seed, path: String(index), numRuns: 1 })
  const repeat = generator === cases ? `\nRepeat it with: npm run fuzz -- --seed ${seed} --cases ${index + 1}` : ''
  throw new Error(
    `${errorInstance instanceof Error ? errorInstance.message : reason}\n` +
      `${JSON.stringify(counterexample?.[0]).slice(0, 2_000)}${repeat}`,
  )
}
