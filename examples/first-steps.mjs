/** The cache from the first key to the last purge. `npm start` runs it in memory, or on MIZAN_CACHE_REDIS_URL. */

import { cacheGet, cachePurge, cachePut, configureCache } from '@mizan/cache'

const redisUrl = process.env.MIZAN_CACHE_REDIS_URL
const cache = configureCache({
  // A real program takes a random secret from its configuration; all processes that share a Redis share it.
  secret: process.env.MIZAN_CACHE_SECRET ?? 'only for these first steps, not a secret',
  // Without this option configureCache reads MIZAN_CACHE_REDIS_URL itself.
  ...(redisUrl ? { redisUrl } : {}),
})
console.log(
  redisUrl
    ? 'Everything is kept in Redis, at MIZAN_CACHE_REDIS_URL.'
    : 'Everything is kept in the memory of this process. Set MIZAN_CACHE_REDIS_URL to use Redis.',
)
// Entries of an earlier run that was interrupted.
await cachePurge('first_steps.profile')
await cachePurge('first_steps.orders')

console.log('\n1. Derive: every call has one key, whatever the order of its parameters.')
const key = cache.deriveKey('first_steps.profile', { user_id: 5, lang: 'en' })
const sameKey = cache.deriveKey('first_steps.profile', { lang: 'en', user_id: '5' })
console.log(`   ${key.slice(0, 40)}…`)
console.log(`   The same with the parameters swapped and 5 written as text: ${yes(key === sameKey)}`)

console.log('\n2. Store and read.')
console.log(`   Before anything is stored: ${found(await cacheGet('first_steps.profile', { user_id: 5 }))}`)
const stored = await cachePut('first_steps.profile', { user_id: 5 }, '{"name":"Ada"}', { ttl: 60 })
if (!stored) {
  console.error('   Nothing was stored: Redis does not answer. Check MIZAN_CACHE_REDIS_URL, or unset it to use memory.')
  process.exit(1)
}
await cachePut('first_steps.profile', { user_id: 6 }, '{"name":"Grace"}', { ttl: 60 })
console.log(
  `   After Ada and Grace are stored, for a minute at most: ${found(await cacheGet('first_steps.profile', { user_id: 5 }))}`,
)

console.log('\n3. Two users: an entry that belongs to one user is invisible to another.')
await cachePut('first_steps.orders', { page: 1 }, '["a book"]', { userId: 'ada', ttl: 60 })
console.log(
  `   Ada asks for her orders:        ${found(await cacheGet('first_steps.orders', { page: 1 }, { userId: 'ada' }))}`,
)
console.log(
  `   Grace asks for the same page:   ${found(await cacheGet('first_steps.orders', { page: 1 }, { userId: 'grace' }))}`,
)

console.log('\n4. Purge one entry: Ada changed her name.')
console.log(`   Entries deleted: ${await cachePurge('first_steps.profile', { user_id: 5 })}`)
console.log(`   Ada's profile:   ${found(await cacheGet('first_steps.profile', { user_id: 5 }))}`)
console.log(`   Grace's profile: ${found(await cacheGet('first_steps.profile', { user_id: 6 }))}`)

console.log('\n5. A slow reader cannot undo a purge.')
const { lease } = await cache.lookup('first_steps.profile', { user_id: 5 })
console.log(
  `   A reader misses, gets a lease and asks the database, which still has the old name: ${yes(lease !== null)}`,
)
await cachePurge('first_steps.profile', { user_id: 5 })
console.log('   Meanwhile the name changes, and the entry is purged; that ends the lease.')
const late = await cachePut('first_steps.profile', { user_id: 5 }, '{"name":"old"}', { lease, ttl: 60 })
console.log(`   The reader stores the old name with its lease: ${late ? 'stored' : 'refused'}`)
console.log(`   What the next reader gets: ${found(await cacheGet('first_steps.profile', { user_id: 5 }))}`)

console.log('\n6. Purge a whole context: every entry of it, of all users.')
console.log(`   Profiles deleted: ${await cachePurge('first_steps.profile')}`)
console.log(`   Orders deleted:   ${await cachePurge('first_steps.orders')}`)

await cache.close()

/** @param {string | null} value */
function found(value) {
  return value ?? 'nothing there'
}

/** @param {boolean} condition */
function yes(condition) {
  return condition ? 'yes' : 'no'
}
