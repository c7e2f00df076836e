import { strict as assert } from 'node:assert'
import type * as addon from '@mizan/cache'
import { deriveCacheKey } from '../built.ts'
import { SECRET } from '../entries.ts'
import { deriveCacheKey as derivePortKey } from '../port.ts'
import { processorTimeOf } from '../processor.ts'
import type { Metric } from '../results.ts'
import { interleave } from '../rounds.ts'
import type { Case } from './case.ts'

const TURN_MILLISECONDS = 60
/** So many different calls that nobody can answer from memory. */
const CALLS = 1_000
const METRICS: Metric[] = [{ name: 'processor, ns each', unit: 'ns', better: 'less', plot: true }]

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

const KINDS: Record<string, (call: number) => addon.Params> = {
  'no parameters': () => ({}),
  '2 parameters': (call) => ({ user_id: call, page: 3 }),
  '10 parameters': tenParameters,
  '10 parameters, one a fraction': (call) => ({ ...tenParameters(call), min_price: 9.99 + call }),
  '2 parameters, not ASCII': (call) => ({ città: `São Paulo ${call}`, query: '東京 🗼' }),
  '2 parameters, nested': (call) => ({ ids: [call, 1, 2], filter: { from: 'a', to: 'b' } }),
}

type Derive = (secret: string, context: string, params: addon.Params) => string
const ARMS: Record<string, Derive> = {
  mizan: deriveCacheKey,
  'TypeScript port': derivePortKey,
  'mizan again': deriveCacheKey,
}

export const keys: Case = {
  text: `\`deriveCacheKey\` against the port written by hand in TypeScript (a sorted, recursive stringify and \`createHmac\`), in one process, where nothing else runs that they could disturb one another by. ${CALLS} different calls in turn.`,
  rounds: 15,
  async run(rounds) {
    const comparisons = []
    for (const [title, params] of Object.entries(KINDS)) {
      const calls = Array.from({ length: CALLS }, (_, call) => params(call))
      for (const call of calls) {
        assert.equal(deriveCacheKey(SECRET, 'user', call), derivePortKey(SECRET, 'user', call), 'the arms must agree')
      }
      const contestants = Object.entries(ARMS).map(([name, derive]) => {
        const estimate = time(derive, calls, 20)
        const repetitions = Math.max(1, Math.round((TURN_MILLISECONDS * 1e6) / (estimate * CALLS)))
        return { name, turn: async () => [time(derive, calls, repetitions)] }
      })
      comparisons.push(await interleave(title, METRICS, contestants, rounds))
    }
    return comparisons
  },
}

/** Nanoseconds of CPU per call. The keys' lengths are added up so that no call is left out. */
function time(derive: Derive, calls: addon.Params[], repetitions: number): number {
  let total = 0
  const microseconds = processorTimeOf(() => {
    for (let repetition = 0; repetition < repetitions; repetition++) {
      for (const params of calls) total += derive(SECRET, 'user', params).length
    }
  })
  assert.ok(total > 0)
  return (microseconds * 1_000) / (repetitions * calls.length)
}
