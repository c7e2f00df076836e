import assert from 'node:assert/strict'
import * as everything from '@mizan/cache'
import { Cache, deriveCacheKey } from '@mizan/cache'
import { deriveCacheKey as deriveAtTheEdge } from '@mizan/cache/edge'
import { createOrigin } from '@mizan/cache/origin'

const secret = 'a secret of thirty-two bytes or more'
const cache = new Cache({ secret })
assert.match(deriveCacheKey(secret, 'user', { id: 5 }), /^ctx:user:[0-9a-f]{64}$/)
assert.equal(await deriveAtTheEdge(secret, 'user', { id: 5 }), deriveCacheKey(secret, 'user', { id: 5 }))
assert.equal(createOrigin({ cache }).manifest().version, 1)
assert.equal(await cache.put('user', { id: 5 }, 'Ada'), true)
assert.equal(await cache.get('user', { id: 5 }), 'Ada')
assert.equal(await cache.purge('user'), 1)
assert.throws(() => cache.deriveKey('user', { id: undefined }), { code: 'ERR_MIZAN_PARAM_TYPE' })
await cache.close()
console.log(`@mizan/cache as an ES module: ${Object.keys(everything).sort()}`)
