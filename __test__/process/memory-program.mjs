/**
 * Stores, reads and purges entries that were never there before, and prints the resident memory on the way.
 * Arguments: a Redis URL or "memory", how many cycles, how many samples. Needs --expose-gc.
 */

import { Cache } from '@mizan/cache'

const [url, cycles, samples] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const AT_ONCE = 50
const cache = new Cache({
  secret: 'a secret of the tests, 32 bytes or more',
  ...(url === 'memory' ? {} : { redisUrl: url }),
})
const text = 'x'.repeat(1000)
const bytes = new Uint8Array(1000).fill(1)

/**
 * Through a lease or without one, as text or as bytes, under the key of a user or of none.
 * @param {number} id
 */
async function cycle(id) {
  const params = { id, name: `entry ${id}` }
  const scope = id % 3 === 0 ? { userId: id } : {}
  const { lease } = id % 2 === 0 ? await cache.lookup('soak', params, scope) : { lease: null }
  const stored = await cache.put('soak', params, id % 4 < 2 ? text : bytes, { ...scope, lease })
  const found = id % 4 < 2 ? await cache.get('soak', params, scope) : await cache.getBytes('soak', params, scope)
  const purged = await cache.purge('soak', params, scope)
  return stored && found?.length === 1000 && purged === 1
}

let failed = 0
for (let sample = 1, id = 0; sample <= samples; sample += 1) {
  for (; id < (cycles * sample) / samples; id += AT_ONCE) {
    const results = await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => cycle(id + index)))
    failed += results.filter((result) => !result).length
  }
  globalThis.gc?.()
  console.log(`${process.memoryUsage.rss()}`)
}
if (failed > 0) {
  throw new Error(`${failed} of ${cycles} cycles did not store, read and purge`)
}
await cache.close()
