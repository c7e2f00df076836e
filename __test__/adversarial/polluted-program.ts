/**
 * Runs one round of calls in a clean process, and again with its names on `Object.prototype`; prints the names
 * that change what anybody sees. Every object inherits such a member, so code that reads an option without asking whose
 * it is takes the attacker's.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Cache, cacheGet, cachePurge, cachePut, configureCache, deriveCacheKey } from '../../cache/index.ts'
import { createEdgeWorker, identifyJwt } from '../../edge/index.ts'
import { createOrigin, getOrLoad, type ObjectSchema, type Origin } from '../../origin/index.ts'
import { signIn } from '../edge/support/edge.ts'

const SECRET = 'a secret of the tests, 32 bytes or more'
const OPTIONS = { secret: SECRET, ttl: 60 }
const LOGIN = {
  secret: 'what the login signs with, 32 bytes or more',
  algorithms: ['HS256'],
  audience: 'shop',
  issuer: 'https://login.example',
}

type See = (what: unknown) => void

/** A schema of our own: what a library reads of its own objects is its own affair. */
const params = {
  shape: { user_id: 1, page: 1 },
  '~standard': {
    version: 1,
    vendor: 'own',
    validate(given: { user_id?: unknown; page?: unknown }) {
      const { user_id, page } = Object.assign(Object.create(null), given)
      if (user_id === undefined) return { issues: [{ message: 'user_id is missing' }] }
      return { value: page === undefined ? { user_id: Number(user_id) } : { user_id: Number(user_id), page } }
    },
  },
} as unknown as ObjectSchema

async function callTheCache(see: See): Promise<void> {
  see(deriveCacheKey(SECRET, 'user', { id: 5, list: [1, { a: 'é' }] }, 'ann', 3))
  see(deriveCacheKey(SECRET, 'user'))
  const cache = new Cache(OPTIONS)
  for (const scope of [undefined, {}, { userId: 'ann' }, { rev: 3 }]) {
    see(cache.deriveKey('user', { id: 5 }, scope))
    see(await cache.put('user', { id: 5 }, `of ${JSON.stringify(scope)}`, scope))
    see(await cache.get('user', { id: 5 }, scope))
    see(cache.peek('user', { id: 5 }, scope))
  }
  see(await cache.purge('user', { id: 5 }))
  see(await cache.purge('user'))
  const { lease } = await cache.lookup('user', {})
  see(await cache.put('user', {}, 'filled', { lease }))
  see(await cache.lookup('user', {}, {}))
  for (const scope of [undefined, {}, { userId: 'ann' }]) {
    see(await getOrLoad(cache, 'loaded', {}, scope, () => `for ${JSON.stringify(scope)}`))
    await nextTurn()
  }
  see(await cache.get('loaded', {}))
  see(cache.stats())
  await cache.close()

  const shared = configureCache(OPTIONS)
  see(await cachePut('user', {}, 'of the default cache'))
  see(await cacheGet('user', {}))
  see(await cachePurge('user'))
  see(shared.stats())
  await shared.close()
}

async function callTheOrigin(see: See): Promise<void> {
  const cache = new Cache(OPTIONS)
  const origin = createOrigin({
    cache,
    authenticate: ({ headers }) => ({ id: headers.get('x-user') ?? '' }),
    onError: (error) => see(String(error)),
  })
  origin.context('user', { params, functions: { profile: (given) => ({ given }), constructor: { run: () => 1 } } })
  origin.context('cart', { auth: true, functions: { items: (_params, { identity }) => identity.id } })
  const rename = origin.mutation('rename', { args: params, affects: ['user', 'cart'], run: (args) => args })
  origin.mutation('add', { auth: true, affects: [{ context: 'cart', user: 'self' }], run: () => 'added' })
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await origin.fetch(new Request(`http://origin.test/api/mizan${path}`, init))
    see([response.status, [...response.headers], await response.text()])
    await nextTurn()
  }
  for (const path of ['/ctx/user/?user_id=5', '/ctx/user/?user_id=05', '/ctx/user/', '/ctx/user/?user_id=5&page=2']) {
    await ask(path)
  }
  for (const user of ['', 'ann', 'bob']) await ask('/ctx/cart/', { headers: { 'x-user': user } })
  for (const call of [{ fn: 'rename', args: { user_id: 5 } }, { fn: 'rename' }, { fn: 'add' }, {}]) {
    const headers = { 'content-type': 'application/json', 'x-user': 'ann' }
    await ask('/call/', { method: 'POST', body: JSON.stringify(call), headers })
  }
  see(await rename({ user_id: 6 }))
  see(cache.stats())
  await callTheEdge(see, origin)
  await cache.close()
}

let zones = 0

async function callTheEdge(see: See, origin: Pick<Origin<never>, 'fetch' | 'manifest'>): Promise<void> {
  see(origin.manifest())
  // The Worker sends its purges again later, when the next round is under way.
  const zoneId = `zone ${++zones}`
  const worker = createEdgeWorker({
    manifest: origin.manifest(),
    origin: 'https://origin.example',
    identify: identifyJwt(LOGIN),
    purge: { zoneId },
  })
  // Nothing is ever sent to the CDN: whatever a Worker fetches ends here.
  globalThis.fetch = async (given, init) => {
    const request = new Request(given, init)
    if (!request.url.startsWith('https://origin.example/')) {
      if (request.url.includes(encodeURIComponent(zoneId))) see(await request.json())
      return Response.json({ success: true })
    }
    const identity = request.headers.get('X-Mizan-Identity')?.split('.').at(-1)
    see([request.method, request.url, init && 'cf' in init && init.cf, identity])
    return origin.fetch(request)
  }
  const ask = async (path: string, init: RequestInit = {}) => {
    const request = new Request(`https://shop.example/api/mizan${path}`, init)
    const env = { MIZAN_CACHE_SECRET: SECRET, MIZAN_PURGE_TOKEN: 'token' }
    const response = await worker.fetch(request, env, { waitUntil: () => {} })
    see([response.status, [...response.headers], await response.text()])
  }
  await ask('/ctx/user/?user_id=5')
  await ask('/ctx/user/?user_id=05&page=1')
  await ask('/ctx/cart/')
  await ask('/ctx/cart/', { headers: { Authorization: `Bearer ${token}` } })
  const body = '{"fn":"rename","args":{"user_id":5}}'
  await ask('/call/', { method: 'POST', body, headers: { 'Content-Type': 'application/json' } })
}

/** What anybody sees of one round. */
async function round(): Promise<string[]> {
  const seen: string[] = []
  const see: See = (what) => seen.push(JSON.stringify(what) ?? 'undefined')
  await callTheCache(see)
  await callTheOrigin(see)
  return seen
}

/** The names of members, options, variables and parameters in the sources; types have capitals. */
function names(): string[] {
  const root = new URL('../../', import.meta.url)
  const found = new Set<string>()
  for (const directory of ['cache/', 'origin/', 'edge/']) {
    for (const file of readdirSync(new URL(directory, root))) {
      const text = readFileSync(new URL(directory + file, root), 'utf8')
      for (const [, member, quoted] of text.matchAll(/\b([A-Za-z_]\w*)\??:|'([A-Za-z_]\w*)'/g)) {
        found.add(member ?? quoted ?? '')
      }
    }
  }
  const options = readFileSync(new URL('src/options.rs', root), 'utf8')
  for (const [, quoted = ''] of options.matchAll(/"([A-Za-z_]\w*)"/g)) found.add(quoted)
  return [...found].filter((name) => /^([a-z_]|MIZAN_)/.test(name) && !(name in {}))
}

async function anyChanges(names: string[]): Promise<boolean> {
  const everybodys = Object.prototype as Record<string, unknown>
  for (const name of names) everybodys[name] = 'attacker'
  try {
    return (await round()).join('\n') !== clean.join('\n')
  } catch {
    return true
  } finally {
    for (const name of names) delete everybodys[name]
  }
}

/** Those of the names that change something; halves them until they are found. */
async function changing(names: string[]): Promise<string[]> {
  if (!(await anyChanges(names))) return []
  if (names.length === 1) return names
  const half = names.length / 2
  return [...(await changing(names.slice(0, half))), ...(await changing(names.slice(half)))]
}

const token = await signIn('ann')
console.error = () => {}
const clean = await round()
const tried = names()
console.log(JSON.stringify({ seen: clean.length, tried, changing: await changing(tried) }))
process.exit()
