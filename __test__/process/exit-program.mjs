/** Uses a cache and ends without closing it. Arguments: a Redis URL or "memory", and how it ends. */

import { once } from 'node:events'
import { Cache } from '@mizan/cache'

const [url, ending] = process.argv.slice(2)
const cache = new Cache({
  secret: 'a secret of the tests, 32 bytes or more',
  ...(url === 'memory' ? {} : { redisUrl: url }),
})

const everyCall = () => [
  cache.get('user', {}),
  cache.getBytes('user', { id: 1 }),
  cache.lookup('user', { id: 2 }),
  cache.put('user', {}, 'x'),
  cache.purge('user', {}),
  cache.purge('user'),
  cache.clear(),
]

if (ending === 'waits first') {
  await cache.put('user', {}, 'x')
  console.log('ready')
  await once(process.stdin.resume(), 'end')
}
if (ending === 'calls under way') {
  everyCall()
} else if (ending === 'process.exit') {
  everyCall()
  console.log('last statement')
  process.exit(7)
} else if (ending === 'an exception') {
  everyCall()
  setImmediate(() => {
    throw new Error('on purpose')
  })
} else {
  await Promise.all(everyCall())
}
console.log('last statement')
