/**
 * Every export and every method of Cache, every argument, every wrong type: a call does what the API documents, or it
 * throws at once an Error with a documented code. It never rejects for a wrong type, and never throws anything else.
 */

import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import * as addon from '../../cache/index.ts'
import { wrongValues } from '../support/cases-wrong-types.ts'

const SECRET = 'canon-v1-test-secret-0123456789abcdef'

/** INTERNAL says that the package has a defect: no call may come to that. */
const documentedCodes = new Set(
  [...readFileSync('core/src/error.rs', 'utf8').matchAll(/"(ERR_MIZAN_[A-Z_]+)"/g)]
    .map(([, code]) => code)
    .filter((code) => code !== 'ERR_MIZAN_INTERNAL'),
)

type Pass = (...values: unknown[]) => unknown
type Verdict = 'accepted' | 'refused' | 'either'
type Judge = (value: unknown, name: string) => Verdict

/** An argument, or a member of one: how to pass a value there, whether the API accepts it, and the codes if not. */
interface Position {
  name: string
  codes: string[]
  judge: Judge
  pass: Pass
}

const position = (name: string, codes: string, judge: Judge, pass: Pass): Position => ({
  name,
  codes: codes.split(' ').map((code) => `ERR_MIZAN_${code}`),
  judge,
  pass,
})

// What the API accepts

const verdict = (accepted: boolean): Verdict => (accepted ? 'accepted' : 'refused')
const isInteger = (value: unknown) =>
  Number.isSafeInteger(value) || (typeof value === 'bigint' && value >= -(2n ** 63n) && value < 2n ** 64n)
const isText = (value: unknown): value is string => typeof value === 'string' && !/\p{Surrogate}/u.test(value)
const isHuge = (name: string) => name === 'a string of 2 MiB'
const isPlainObject = (name: string) =>
  [
    'an empty object',
    'an empty object without prototype',
    'an object with a member of every sort',
    'a proxy of an object',
  ].includes(name)
/** Has Object.prototype and no member that is refused, and may still be refused. */
const isNearlyPlainObject = (name: string) => ['an object with a symbol key', 'globalThis'].includes(name)
const isBytes = (name: string) => ['a Uint8Array', 'a Buffer', 'a Uint8Array of a resizable buffer'].includes(name)
/** Bytes that others may change meanwhile, or that lie about their length: refused, or read as what they are. */
const isUnreliableBytes = (name: string) =>
  [
    'a Uint8Array of shared memory',
    'a Uint8Array whose length was taken over',
    'a Uint8Array whose byteLength was taken over',
  ].includes(name)

const context: Judge = (value) =>
  verdict(typeof value === 'string' && /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(value))
const params: Judge = (value, name) =>
  isNearlyPlainObject(name) ? 'either' : verdict(value === undefined || value === null || isPlainObject(name))
const paramValue: Judge = (value, name) => {
  if (isNearlyPlainObject(name)) return 'either'
  const isFraction = Number.isFinite(value) && !Number.isInteger(value)
  const isScalar = value === null || typeof value === 'boolean' || isFraction || isInteger(value) || isText(value)
  const isContainer = isPlainObject(name) || ['an empty array', 'an array of strings'].includes(name)
  return verdict((isScalar && !isHuge(name)) || isContainer)
}
const userId: Judge = (value, name) =>
  verdict(value === undefined || value === null || isInteger(value) || (isText(value) && !isHuge(name)))
const rev: Judge = (value) => verdict(value === undefined || (Number.isSafeInteger(value) && Number(value) >= 0))
/** An object of any class will do: its members are what counts. */
const scope: Judge = (value) => {
  if (value === undefined) return 'accepted'
  return typeof value === 'object' || typeof value === 'function' ? 'either' : 'refused'
}
const storedValue: Judge = (value, name) =>
  isUnreliableBytes(name) ? 'either' : verdict(isText(value) || isBytes(name) || name === 'an empty Uint8Array')
const ttl: Judge = (value) =>
  verdict(value === undefined || (Number.isFinite(value) && Number(value) > 0 && Number(value) <= 315_360_000))
const lease: Judge = (value) => verdict(value === undefined || value === null)
const secret =
  (leastBytes: number): Judge =>
  (value, name) =>
    isUnreliableBytes(name)
      ? 'either'
      : verdict(isBytes(name) || (isText(value) && Buffer.byteLength(value) >= leastBytes))

const absent: Judge = (value) => verdict(value === undefined)
const anything: Judge = () => 'accepted'
const text: Judge = (value) => verdict(value === undefined || isText(value))
/** The least and the greatest that an option allows are its own affair; these are numbers that none allows. */
const positive: Judge = (value) => {
  if (value === undefined) return 'accepted'
  return Number.isFinite(value) && Number(value) >= 0 ? 'either' : 'refused'
}

// What there is to call

const PARAMS = 'PARAM_TYPE PARAM_NUMBER SURROGATE DEPTH SIZE'
const SCOPE = 'OPTION USER REV TTL LEASE SURROGATE'

const keyPositions = (pass: Pass): Position[] => [
  position('context', 'CONTEXT SURROGATE', context, (value) => pass(value, { a: 1 })),
  position('params', PARAMS, params, (value) => pass('user', value)),
  position('params.a', PARAMS, paramValue, (value) => pass('user', { a: value })),
  position('params.a[0].b', PARAMS, paramValue, (value) => pass('user', { a: [{ b: value }] })),
]
/** `pass` takes context, params and scope, whatever else stands between. */
const scopedPositions = (pass: Pass): Position[] => [
  ...keyPositions(pass),
  position('scope', SCOPE, scope, (value) => pass('user', { a: 1 }, value)),
  position('scope.userId', 'USER SURROGATE SIZE', userId, (value) => pass('user', {}, { userId: value })),
  position('scope.rev', 'REV', rev, (value) => pass('user', {}, { rev: value })),
  position('scope.userId of a broad call', 'USER SURROGATE SIZE', userId, (value) =>
    pass('user', null, { userId: value }),
  ),
]

const putPositions = (pass: Pass): Position[] => [
  ...scopedPositions((givenContext, givenParams, options) => pass(givenContext, givenParams, 'value', options)),
  position('value', 'VALUE SURROGATE', storedValue, (value) => pass('user', {}, value)),
  position('options.ttl', 'TTL', ttl, (value) => pass('user', {}, 'value', { ttl: value })),
  position('options.lease', 'LEASE', lease, (value) => pass('user', {}, 'value', { lease: value })),
]

const optionsPositions = (open: Pass): Position[] => {
  const openAndClose = (options: unknown) => (open(options) as addon.Cache).close()
  const option = (name: string, codes: string, judge: Judge) =>
    position(`options.${name}`, codes, judge, (value) => openAndClose({ secret: SECRET, [name]: value }))
  const sentinel = (name: string, judge: Judge) =>
    position(`options.sentinel.${name}`, 'OPTION SURROGATE', judge, (value) => {
      const sentinel = { urls: ['redis://127.0.0.1:26379'], name: 'main', password: 'x', [name]: value }
      return openAndClose({ secret: SECRET, sentinel })
    })
  return [
    position('options', 'OPTION SECRET', () => 'refused', openAndClose),
    option('secret', 'SECRET SURROGATE', secret(32)),
    option('previousSecrets', 'OPTION SECRET SURROGATE', (value, name) =>
      verdict(value === undefined || name === 'an empty array'),
    ),
    position('options.previousSecrets[0]', 'SECRET SURROGATE OPTION', secret(32), (value) =>
      openAndClose({ secret: SECRET, previousSecrets: [value] }),
    ),
    option('redisUrl', 'OPTION', absent),
    option('cluster', 'OPTION', absent),
    position(
      'options.cluster[0]',
      'OPTION',
      () => 'refused',
      (value) => openAndClose({ secret: SECRET, cluster: [value] }),
    ),
    option('sentinel', 'OPTION', absent),
    sentinel('urls', () => 'refused'),
    sentinel('name', (value) => (isText(value) ? 'either' : 'refused')),
    sentinel('username', text),
    sentinel('password', text),
    sentinel('database', positive),
    sentinel('tls', (value) => verdict(value === undefined || typeof value === 'boolean')),
    option('tls', 'OPTION', (value) => {
      if (value === undefined) return 'accepted'
      return typeof value === 'object' && value !== null ? 'either' : 'refused'
    }),
    ...['ca', 'cert', 'key'].map((name) =>
      position(
        `options.tls.${name}`,
        'OPTION SURROGATE',
        (value, valueName) =>
          isUnreliableBytes(valueName) || /\barray\b|empty Uint8Array/.test(valueName)
            ? 'either'
            : verdict(value === undefined || isText(value) || isBytes(valueName)),
        (value) => openAndClose({ secret: SECRET, redisUrl: 'redis://127.0.0.1:1', tls: { [name]: value } }),
      ),
    ),
    position('options.tls.servername', 'OPTION SURROGATE', text, (value) =>
      openAndClose({ secret: SECRET, redisUrl: 'redis://127.0.0.1:1', tls: { servername: value } }),
    ),
    option('credentials', 'OPTION', (value) => verdict(value === undefined || typeof value === 'function')),
    option('ttl', 'OPTION TTL', positive),
    option('leaseMs', 'OPTION LEASE', positive),
    option('local', 'OPTION', (value) => {
      if (value === undefined || value === false) return 'accepted'
      return typeof value === 'object' && value !== null ? 'either' : 'refused'
    }),
    position('options.local.maxBytes', 'OPTION', positive, (value) =>
      openAndClose({ secret: SECRET, local: { maxBytes: value } }),
    ),
    option('maxBytes', 'OPTION', positive),
    option('maxValueBytes', 'OPTION', positive),
    option('commandTimeoutMs', 'OPTION', positive),
    option('connectTimeoutMs', 'OPTION', positive),
    option('maxInFlight', 'OPTION', positive),
    option('unknown', 'OPTION', () => 'refused'),
    option('secrets', 'OPTION', () => 'refused'),
  ]
}

const cache = new addon.Cache({ secret: SECRET })
addon.configureCache({ secret: SECRET })
afterAll(() => cache.close())

const surplus = (pass: Pass) => [position('a surplus argument', '', anything, pass)]
const on = (method: (...values: never[]) => unknown) => method.bind(cache) as Pass
const derive = addon.deriveCacheKey as Pass

const functions: Record<string, Position[]> = {
  deriveCacheKey: [
    position('secret', 'SECRET SURROGATE', secret(1), (value) => derive(value, 'user')),
    ...keyPositions((givenContext, givenParams) => derive(SECRET, givenContext, givenParams)),
    position('userId', 'USER SURROGATE SIZE', userId, (value) => derive(SECRET, 'user', {}, value)),
    position('rev', 'REV', rev, (value) => derive(SECRET, 'user', {}, null, value)),
  ],
  onLog: [
    position(
      'listener',
      'OPTION',
      (value) => verdict(typeof value === 'function'),
      (value) => addon.onLog(value as never)(),
    ),
  ],
  'new Cache': optionsPositions((options) => new addon.Cache(options as never)),
  'cache.deriveKey': scopedPositions(on(cache.deriveKey)),
  'cache.peek': scopedPositions(on(cache.peek)),
  'cache.get': scopedPositions(on(cache.get)),
  'cache.getBytes': scopedPositions(on(cache.getBytes)),
  'cache.lookup': scopedPositions(on(cache.lookup)),
  'cache.put': putPositions(on(cache.put)),
  'cache.purge': scopedPositions(on(cache.purge)),
  'cache.release': [
    ...scopedPositions((givenContext, givenParams, givenScope) =>
      on(cache.release)(givenContext, givenParams, 'a'.repeat(32), givenScope),
    ),
    position(
      'lease',
      'LEASE',
      () => 'refused',
      (value) => on(cache.release)('user', {}, value),
    ),
  ],
  'cache.clear': surplus(on(cache.clear)),
  'cache.stats': surplus(on(cache.stats)),
  'cache.close': surplus((value) => (new addon.Cache({ secret: SECRET }).close as Pass)(value)),
  cacheGet: scopedPositions(addon.cacheGet as Pass),
  cachePut: putPositions(addon.cachePut as Pass),
  cachePurge: scopedPositions(addon.cachePurge as Pass),
  // Last, for it closes the default caches that it opens.
  configureCache: optionsPositions((options) => addon.configureCache(options as never)),
}

/** What went wrong when every value was passed in a position. */
async function failuresAt({ codes, judge, pass }: Position): Promise<string[]> {
  const failures: string[] = []
  for (const { name, make } of wrongValues) {
    const value = make()
    const expected = judge(value, name)
    let result: unknown
    try {
      result = pass(value)
    } catch (thrown) {
      const { code, message } = thrown instanceof Error ? (thrown as NodeJS.ErrnoException) : {}
      if (code === undefined || !documentedCodes.has(code)) failures.push(`${name}: throws ${code} ${String(thrown)}`)
      else if (expected === 'accepted') failures.push(`${name}: is refused: ${message}`)
      else if (!codes.includes(code)) failures.push(`${name}: is refused with ${code}, not ${codes.join(' or ')}`)
      else if (message?.includes('not to be seen')) failures.push(`${name}: shows a foreign message: ${message}`)
      continue
    }
    if (expected === 'refused') failures.push(`${name}: is accepted`)
    await Promise.resolve(result).catch((error) => failures.push(`${name}: rejects with ${String(error)}`))
  }
  return failures
}

describe.each(Object.entries(functions))('%s', (_, positions) => {
  test.each(positions)('$name', async (each) => {
    expect(await failuresAt(each)).toEqual([])
  })
})

test('no export and no method is left out', () => {
  const methods = Object.getOwnPropertyNames(addon.Cache.prototype).filter((name) => name !== 'constructor')
  const exported = Object.keys(addon).filter((name) => name !== 'Cache')
  // configureCache has a matrix of its own, for it changes what the process's other tests meet.
  const tested = [...Object.keys(functions), 'configureCache']
  expect(tested).toEqual(expect.arrayContaining([...exported, ...methods.map((name) => `cache.${name}`), 'new Cache']))
})
