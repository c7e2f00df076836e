/** Prints how many threads the process has before, during and after the use of caches. Argument: a Redis URL. */

import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'

const url = process.argv[2]
const secret = 'a secret of the tests, 32 bytes or more'
/** @param {string} step */
const report = (step) => console.log(`${readdirSync('/proc/self/task').length} ${step}`)

// Node starts its own helpers when files are first read in the background.
await Promise.all(Array.from({ length: 8 }, () => readFile(new URL(import.meta.url))))
report('before')
const { Cache, configureCache, cachePut, deriveCacheKey } = createRequire(import.meta.url)('@mizan/cache')
report('loaded by require')
await import('@mizan/cache')
report('loaded by import')
deriveCacheKey(secret, 'user', {})
const memory = configureCache({ secret })
await cachePut('user', {}, 'x')
await memory.lookup('user', { id: 1 })
await memory.purge('user')
await memory.close()
report('memory cache used')
const cache = new Cache({ secret, redisUrl: url })
cache.deriveKey('user', {})
cache.peek('user', {})
cache.stats()
report('Redis cache made')
await cache.get('user', {})
report('Redis cache used')
