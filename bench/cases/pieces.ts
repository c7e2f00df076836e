import { strict as assert } from 'node:assert'
import { createHmac, createSecretKey } from 'node:crypto'
import { canonicalForm } from '../../cache/canonical.ts'
import { LocalTexts } from '../../cache/local-texts.ts'
import { native } from '../../cache/native.ts'
import { Cache } from '../built.ts'
import { parametersOf, SECRET } from '../entries.ts'
import { processorTimeOf } from '../processor.ts'
import type { Metric } from '../results.ts'
import { interleave } from '../rounds.ts'
import { type Case, KB } from './case.ts'

const TURN_MILLISECONDS = 60
const METRICS: Metric[] = [{ name: 'processor, ns each', unit: 'ns', better: 'less', plot: true }]

export const pieces: Case = {
  text: 'Where the time of a hit in memory goes: the whole, and its pieces one by one, each beside what it cannot be faster than. In one process, by processor time.',
  rounds: 9,
  async run(rounds) {
    const comparisons = []
    for (const [title, bytes] of [
      ['1 KB', KB],
      ['50 KB', 50 * KB],
    ] as const) {
      const contestants = Object.entries(await piecesOf(bytes)).map(([name, work]) => {
        const repetitions = Math.max(1, Math.round((TURN_MILLISECONDS * 1e6) / time(work, 2_000)))
        return { name, turn: async () => [time(work, repetitions)], isRival: false as const }
      })
      comparisons.push(await interleave(title, METRICS, contestants, rounds))
    }
    return comparisons
  },
}

async function piecesOf(bytes: number): Promise<Record<string, () => unknown>> {
  const params = parametersOf(1)
  const value = 'x'.repeat(bytes)
  const cache = new Cache({ secret: SECRET })
  await cache.put('document', params, value)
  const [open, closed] = [native.openCache({ secret: SECRET }), native.openCache({ secret: SECRET })]
  const canonical = canonicalForm('document', params, null, 0)
  await open.put(canonical, value, undefined, null, 0)
  closed.markClosed()
  const sign = native.createSigner(SECRET)
  const secret = createSecretKey(SECRET, 'utf8')
  const stored = Buffer.from(value)
  const target = Buffer.alloc(bytes)
  assert.equal(cache.peek('document', params), value)
  const texts = new LocalTexts(open)
  assert.equal(texts.textOf(open.peek(canonical)), value)
  assert.equal(closed.peek(canonical), null)
  const absent = canonicalForm('document', parametersOf(2), null, 0)
  const peek = () => cache.peek('document', params)
  return {
    'mizan, peek': peek,
    'its canonical form, written in JavaScript': () => canonicalForm('document', params, null, 0),
    'a native call with it that answers null (a closed cache)': () => closed.peek(canonical),
    'the same that signs it and finds nothing': () => open.peek(absent),
    'the same that finds the value: all but the canonical form': () => texts.textOf(open.peek(canonical)),
    'deriveKey: signed, and the key as text': () => sign(canonical),
    "Node's HMAC of the same bytes, as text": () => createHmac('sha256', secret).update(canonical).digest('hex'),
    'a JavaScript string of bytes of that size': () => stored.toString('latin1'),
    'the same of a reply that is packed: copied into one buffer with others, and cut out': cutOut(stored),
    'one copy of bytes of that size': () => stored.copy(target),
    'mizan, peek again': peek,
  }
}

/** What one value of a reply of many costs where they come together in one buffer. */
function cutOut(value: Buffer): () => string {
  const together = 64
  const packed = Buffer.alloc(together * value.length)
  let next = together
  return () => {
    if (next === together) {
      next = 0
      for (let index = 0; index < together; index++) value.copy(packed, index * value.length)
    }
    next++
    return packed.toString('latin1', (next - 1) * value.length, next * value.length)
  }
}

/** Nanoseconds of CPU for each. */
function time(work: () => unknown, repetitions: number): number {
  let last: unknown
  const microseconds = processorTimeOf(() => {
    for (let repetition = 0; repetition < repetitions; repetition++) last = work()
  })
  assert.notEqual(last, undefined)
  return (microseconds * 1_000) / repetitions
}
