/** Provokes a fault in an addon that has faults on purpose. Arguments: the path of the addon, and the fault. */

import { createRequire } from 'node:module'

const [path = '', fault] = process.argv.slice(2)
const { faults, openCache, canonicalForm } = createRequire(import.meta.url)(path)
const secret = 'a secret of the tests, 32 bytes or more'
const REJECTED = 1
const CODES = 8

if (fault === 'readFreed') {
  console.log(faults.readFreed())
} else {
  try {
    faults.panicNow()
  } catch (error) {
    console.log(`a call: ${/** @type {NodeJS.ErrnoException} */ (error).code}`)
  }
  const cache = openCache({ secret, redisUrl: 'redis://127.0.0.1:1' })
  /** @type {string[]} */
  const settled = []
  const [tags, effects] = [new Int32Array(64), new Array(64).fill(undefined)]
  const settle = (/** @type {any[]} */ ...answers) => {
    for (const [index, answer] of answers.entries()) {
      const tag = tags[index] ?? 0
      settled.push(`${Math.floor(tag / CODES)} ${tag % CODES === REJECTED ? answer.code : 'resolved'}`)
    }
  }
  const canonical = canonicalForm('user', {})
  cache.get(canonical, 0)
  cache.purgeEntry(canonical, 1)
  cache.flush(settle, tags, effects)
  cache.get(canonical, 2)
  const parts = cache.panicLater(settle, tags, effects)
  console.log(`a call of the engine: ${effects.slice(0, parts)}, ${settled}`)
  console.log(`its purge: ${cache.stats().pendingPurges} pending, ${cache.stats().inFlight} in flight`)
  settled.length = 0
  cache.flush(settle, tags, effects)
  console.log(`and goes on: ${effects.includes('open') ? 'connects' : 'nothing'}, ${settled}`)
}
