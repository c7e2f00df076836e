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
  const [answers, effects] = [new Array(64).fill(undefined), new Array(64).fill(undefined)]
  const canonical = canonicalForm('user', {})
  cache.get(canonical, 0)
  cache.purgeEntry(canonical, 1)
  cache.flush(answers, effects)
  const parts = Math.trunc(cache.panicLater(answers, effects) / 65_536)
  console.log(`a call of the engine: ${effects.slice(0, parts).map((part) => part.code ?? part)}`)
  console.log(`its purge: ${cache.stats().pendingPurges} pending, ${cache.stats().inFlight} in flight`)
  cache.get(canonical, 2)
  const outcome = cache.flush(answers, effects)
  const isRejected = answers.slice(0, 2 * (outcome % 65_536)).some((tag) => Number(tag) % CODES === REJECTED)
  console.log(`and goes on: ${isRejected ? 'rejected' : effects.includes('open') ? 'connects' : 'nothing'}`)
}
