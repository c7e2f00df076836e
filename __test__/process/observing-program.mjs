/** Listens to everything that a cache tells, and ends without closing it. Arguments: a Redis URL, and what it does. */

import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { Cache, onLog } from '@mizan/cache'

const [url, action] = process.argv.slice(2)
for (const name of ['get', 'put', 'purge', 'error', 'circuit', 'connection', 'pending-purges']) {
  subscribe(`mizan:cache:${name}`, () => {})
}
const cache = new Cache({ secret: 'a secret of the tests, 32 bytes or more', redisUrl: url })
onLog(({ event, ...entry }) => {
  if (event === 'circuit' && 'state' in entry && entry.state === 'open') {
    console.log('circuit open')
  }
})
if (action === 'calls') {
  await cache.put('user', {}, 'x')
  await cache.purge('user', {})
  console.log('ready')
  await once(process.stdin.resume(), 'end')
  await cache.purge('user')
}
console.log('last statement')
