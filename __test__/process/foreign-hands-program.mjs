/**
 * Uses a cache where others have their hands on what it stands on. Arguments: a Redis URL, and what was done.
 * Prints what the calls came to.
 */

import { readFileSync } from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { dirname } from 'node:path'
import timers from 'node:timers'
import { createContext, runInContext, runInNewContext } from 'node:vm'

const [url, done] = process.argv.slice(2)
const secret = 'a secret of the tests, 32 bytes or more'
const entry = '@mizan/cache'

/** @param {import('@mizan/cache').Cache} cache */
async function use(cache) {
  const stored = await cache.put('user', { id: 1 }, 'x')
  const read = await cache.get('user', { id: 1 })
  const { lease, ...others } = await cache.lookup('user', { id: 2 })
  const filled = await cache.put('user', { id: 2 }, 'y', { lease })
  const found = await cache.lookup('user', { id: 2 })
  const purged = await cache.purge('user')
  const { circuit } = cache.stats()
  return JSON.stringify([stored, read, others, filled, found, purged, circuit])
}

/** The setters that the package called: Node itself calls some. */
const called = new Set()

/** @param {object} members */
const bare = (members) => Object.assign(Object.create(null), members)

/** @param {object} prototype @param {PropertyKey} name */
function trap(prototype, name) {
  const own = bare({ configurable: true, enumerable: true, writable: true, value: undefined })
  const set = function (/** @type {unknown} */ value) {
    const caller = new Error().stack?.split('\n')[2] ?? ''
    if (caller.includes('/dist/')) called.add(String(name))
    own.value = value
    // @ts-expect-error whoever is assigned to
    Object.defineProperty(this, name, own)
  }
  Object.defineProperty(prototype, name, bare({ configurable: true, get: () => undefined, set }))
}

switch (done) {
  case 'fake timers': {
    const { Cache } = await import(entry)
    const never = () => 0
    Object.assign(globalThis, { setImmediate: never, setTimeout: never, clearTimeout: never, queueMicrotask: never })
    performance.now = () => 0
    Date.now = () => 0
    const cache = new Cache({ secret, redisUrl: url })
    console.log(await use(cache))
    // Node itself connects by it; what stands goes on without.
    process.nextTick = never
    console.log(await use(cache))
    process.exit()
    break
  }
  case 'two copies of the module': {
    const [one, other] = [await import(entry), createRequire(import.meta.url)(entry)]
    console.log(one.Cache === other.Cache)
    const caches = [one.configureCache({ secret, redisUrl: url }), other.configureCache({ secret, redisUrl: url })]
    console.log(await use(caches[0]))
    console.log(await use(caches[1]))
    await one.cachePut('user', {}, 'shared')
    console.log(await other.cacheGet('user', {}))
    await other.cachePurge('user', {})
    break
  }
  case 'setters on prototypes': {
    const { Cache } = await import(entry)
    const cache = new Cache({ secret, redisUrl: url, local: {} })
    await use(cache)
    for (const name of ['value', 'lease', 'held', 'hits', 'count', 'state', 'reason', 'calls'])
      trap(Object.prototype, name)
    for (let index = 0; index < 8; index += 1) trap(Array.prototype, index)
    const calls = Array.from({ length: 3 }, (_, id) => cache.get('user', { id }))
    const seen = [await use(cache), ...(await Promise.all(calls))]
    const { hits } = cache.stats()
    for (const name of ['value', 'lease', 'held', 'hits', 'count', 'state', 'reason', 'calls'])
      Reflect.deleteProperty(Object.prototype, name)
    for (let index = 0; index < 8; index += 1) Reflect.deleteProperty(Array.prototype, index)
    console.log(seen[0])
    console.log(hits > 0, [...called])
    break
  }
  case 'another realm': {
    const { Cache } = await import(entry)
    const params = runInNewContext('({ id: 1 })')
    const cache = new Cache({ secret, redisUrl: url })
    console.log(await cache.put('user', params, 'x'), await cache.get('user', params))
    const failing = new Cache({
      secret,
      redisUrl: url,
      credentials: runInNewContext('() => { throw new Error("no") }'),
    })
    console.log(await failing.get('user', params))
    break
  }
  case 'a module of another realm': {
    const requireHere = createRequire(import.meta.url)
    const path = requireHere.resolve(entry)
    const context = createContext({ process, performance, Buffer })
    const evaluate = runInContext(
      `(function (exports, require, module, __filename, __dirname) {${readFileSync(path, 'utf8')}\n})`,
      context,
    )
    const module = { exports: /** @type {typeof import('@mizan/cache')} */ ({}) }
    evaluate(module.exports, createRequire(path), module, path, dirname(path))
    const { Cache } = module.exports
    console.log(await use(new Cache({ secret, redisUrl: url })))
    for (const options of [{}, { redisUrl: url }, { redisUrl: url, local: /** @type {const} */ (false) }]) {
      const cache = new Cache({ secret, ...options })
      await cache.put('user', {}, 'x')
      await cache.close()
      const calls = [cache.get('user', {}), cache.getBytes('user', {}), cache.lookup('user', {}), cache.purge('user')]
      const ends = await Promise.allSettled(calls)
      console.log(ends.map((end) => (end.status === 'rejected' ? end.reason.code : end.value)).join())
    }
    break
  }
  case 'lost immediates': {
    const { setImmediate: real } = timers
    let areLost = false
    Object.assign(timers, {
      setImmediate: (/** @type {() => void} */ callback) => (areLost ? undefined : real(callback)),
    })
    syncBuiltinESMExports()
    const { Cache } = await import(entry)
    const cache = new Cache({ secret, redisUrl: url, local: false })
    await cache.put('user', {}, 'x')
    areLost = true
    const lost = [cache.get('user', {}), cache.put('user', { id: 2 }, 'y'), cache.get('user', {})]
    console.log((await Promise.all(lost)).join())
    break
  }
  case 'a blocked thread': {
    const { Cache } = await import(entry)
    const cache = new Cache({ secret, redisUrl: url, commandTimeoutMs: 100, local: false })
    await cache.put('user', {}, 'x')
    const reads = Array.from({ length: 100 }, () => cache.get('user', {}))
    setImmediate(() => {
      const end = performance.now() + 1_000
      while (performance.now() < end);
    })
    console.log(new Set(await Promise.all(reads)), cache.stats().timeouts)
    break
  }
}
