/** Awaits calls at the top level of the module with nothing else under way: Node must not take that for a deadlock. */

import { cacheGet, cachePurge, cachePut, configureCache } from '@mizan/cache'

const url = process.argv[2]
const cache = configureCache({
  secret: 'a secret of the tests, 32 bytes or more',
  ...(url === 'memory' ? {} : { redisUrl: url }),
})
await cachePut('user', {}, 'x')
console.log(await cacheGet('user', {}))
await cache.lookup('user', { id: 1 })
await cachePurge('user', {})
await cachePurge('user')
await cache.clear()
await cache.close()
console.log('last statement')
