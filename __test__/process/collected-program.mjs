/** Uses caches, then lets them go without closing them. Argument: a Redis URL. Needs --expose-gc. */

import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Cache } from '@mizan/cache'

const secret = 'a secret of the tests, 32 bytes or more'

async function use() {
  const cache = new Cache({ secret, redisUrl: String(process.argv[2]) })
  await cache.put('user', {}, 'x')
  return cache
}

const caches = await Promise.all(Array.from({ length: 20 }, use))
console.log('used')
await once(process.stdin.resume(), 'end')
caches.length = 0
for (let count = 0; count < 10; count += 1) {
  await nextTurn()
  globalThis.gc?.()
}
console.log('collected')
setInterval(() => {}, 1000)
