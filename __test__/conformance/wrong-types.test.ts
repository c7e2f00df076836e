/**
 * Every export and every method of Cache, every argument, every wrong type: a call does what the API documents, or it
 * throws at once an Error with a documented code. It never rejects for a wrong type, and never throws anything else.
 */

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type * as addon from '../../binding/index.ts'
import { type WrongValue, wrongValues } from '../support/cases-wrong-types.ts'

const SECRET = 'canon-v1-test-secret-0123456789abcdef'

/** The codes that the core documents. INTERNAL is a defect, and none of these calls may meet one. */
const documentedCodes = new Set(
  [...readFileSync('core/src/error.rs', 'utf8').matchAll(/"(ERR_MIZAN_[A-Z_]+)"/g)]
    .map(([, code]) => code)
    .filter((code) => code !== 'ERR_MIZAN_INTERNAL'),
)

type Any = (...values: never[]) => unknown
type Verdict = 'accepted' | 'refused' | 'either'

/** An argument, or a member of one: what the API says of a value there, and the call that passes it. */
interface Position {
  name: string
  codes: string[]
  verdict: (value: unknown, name: string) => Verdict
  call: (value: unknown) => unknown
}

const isInteger = (value: unknown) =>
  Number.isSafeInteger(value) || (typeof value === 'bigint' && value >= -(2n ** 63n) && value < 2n ** 64n)
const isWellFormed = (value: unknown) => typeof value === 'string' && !/\p{Surrogate}/u.test(value)
const accepts = (accepted: boolean): Verdict => (accepted ? 'accepted' : 'refused')

const plainObjects = [
  'an empty object',
  'an empty object without prototype',
  'an object with a member of every sort',
  'a proxy of an object',
]
/** What has Object.prototype and nothing that is refused inside, though one may refuse it as well. */
const unclear = ['an object with a symbol key', 'globalThis']
const bytes = ['a Uint8Array', 'a Buffer', 'a Uint8Array of a resizable buffer']
/** Bytes that may be refused, but must not be misread. */
const unclearBytes = [
  'a Uint8Array of shared memory',
  'a Uint8Array whose length was taken over',
  'a Uint8Array whose byteLength was taken over',
]

const contextVerdict = (value: unknown) =>
  accepts(typeof value === 'string' && /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(value))
const paramsVerdict = (value: unknown, name: string): Verdict =>
  unclear.includes(name) ? 'either' : accepts(value === undefined || value === null || plainObjects.includes(name))
const userVerdict = (value: unknown, name: string) =>
  accepts(
    value === undefined || value === null || isInteger(value) || (isWellFormed(value) && name !== 'a string of 2 MiB'),
  )
const revVerdict = (value: unknown) =>
  accepts(value === undefined || (Number.isSafeInteger(value) && Number(value) >= 0))
const memberVerdict = (value: unknown, name: string): Verdict => {
  if (unclear.includes(name)) return 'either'
  const number = typeof value === 'number' && Number.isFinite(value) && (!Number.isInteger(value) || isInteger(value))
  const scalar = value === null || typeof value === 'boolean' || number || isInteger(value) || isWellFormed(value)
  const container = [...plainObjects, 'an empty array', 'an array of strings'].includes(name)
  return accepts((scalar && name !== 'a string of 2 MiB') || container)
}

const PARAM_CODES = ['PARAM_TYPE', 'PARAM_NUMBER', 'SURROGATE', 'DEPTH', 'SIZE']
const position = (name: string, codes: string[], verdict: Position['verdict'], call: Position['call']): Position => ({
  name,
  codes: codes.map((code) => `ERR_MIZAN_${code}`),
  verdict,
  call,
})

/** `context, params` and the scope (with what `extra` adds to it), of a function that takes these in this order. */
function keyPositions(call: (context: never, params: never, scope: never) => unknown, extra: object = {}): Position[] {
  const pass = call as (...values: unknown[]) => unknown
  return [
    position('context', ['CONTEXT', 'SURROGATE'], contextVerdict, (value) => pass(value, { a: 1 }, extra)),
    position('params', PARAM_CODES, paramsVerdict, (value) => pass('user', value, extra)),
    position('params.a', PARAM_CODES, memberVerdict, (value) => pass('user', { a: value }, extra)),
    position('params.a[0].b', PARAM_CODES, memberVerdict, (value) => pass('user', { a: [{ b: value }] }, extra)),
    position('scope.userId', ['USER', 'SURROGATE', 'SIZE'], userVerdict, (value) =>
      pass('user', { a: 1 }, { ...extra, userId: value }),
    ),
    position('scope.rev', ['REV'], revVerdict, (value) => pass('user', { a: 1 }, { ...extra, rev: value })),
  ]
}

const scopeVerdict = (value: unknown, name: string): Verdict => {
  if (value === undefined || plainObjects.slice(0, 2).includes(name)) return 'accepted'
  // Objects of whatever class may serve as options; only what is no object at all must be refused.
  return typeof value === 'object' || typeof value === 'function' ? 'either' : 'refused'
}
const SCOPE_CODES = ['OPTION', 'USER', 'REV', 'TTL', 'LEASE', 'SURROGATE']
const scopePosition = (call: (context: never, params: never, scope: never) => unknown) =>
  position('scope', SCOPE_CODES, scopeVerdict, (value) =>
    (call as (...values: unknown[]) => unknown)('user', { a: 1 }, value),
  )

const valueVerdict = (value: unknown, name: string): Verdict =>
  unclearBytes.includes(name)
    ? 'either'
    : accepts(isWellFormed(value) || bytes.includes(name) || name === 'an empty Uint8Array')
const ttlVerdict = (value: unknown) =>
  accepts(value === undefined || (typeof value === 'number' && value > 0 && value <= 315_360_000))
const leaseVerdict = (value: unknown) => accepts(value === undefined || value === null)

function putPositions(put: (context: string, params: object, value: never, options: never) => unknown): Position[] {
  const pass = put as (...values: unknown[]) => unknown
  return [
    ...keyPositions((context, params, options) => pass(context, params, 'value', options)),
    position('value', ['VALUE', 'SURROGATE'], valueVerdict, (value) => pass('user', {}, value)),
    position('options', SCOPE_CODES, scopeVerdict, (value) => pass('user', {}, 'value', value)),
    position('options.ttl', ['TTL'], ttlVerdict, (value) => pass('user', {}, 'value', { ttl: value })),
    position('options.lease', ['LEASE'], leaseVerdict, (value) => pass('user', {}, 'value', { lease: value })),
  ]
}

function secretVerdict(leastBytes: number) {
  return (value: unknown, name: string): Verdict => {
    if (unclearBytes.includes(name)) return 'either'
    return accepts(bytes.includes(name) || (isWellFormed(value) && Buffer.byteLength(value as string) >= leastBytes))
  }
}

/** What the failures of a position come to, of which there should be none. */
async function failures({ codes, verdict, call }: Position, values: WrongValue[]): Promise<string[]> {
  const found: string[] = []
  for (const { name, make } of values) {
    const value = make()
    const expected = verdict(value, name)
    let result: unknown
    try {
      result = call(value)
    } catch (error) {
      const code = error instanceof Error && (error as NodeJS.ErrnoException).code
      if (!code || !documentedCodes.has(code)) found.push(`${name}: throws ${String(error)}`)
      else if (expected === 'accepted') found.push(`${name}: is refused with ${code}: ${(error as Error).message}`)
      else if (!codes.includes(code)) found.push(`${name}: is refused with ${code}, expected ${codes.join(' or ')}`)
      else if (/trap|getter/.test((error as Error).message)) found.push(`${name}: ${(error as Error).message}`)
      continue
    }
    if (expected === 'refused') found.push(`${name}: is accepted`)
    await Promise.resolve(result).catch((error) => found.push(`${name}: rejects with ${String(error)}`))
  }
  return found
}

/** Positions of a Cache or of the process's default cache, by method. */
function methods(cache: () => addon.Cache): Record<string, Position[]> {
  return {
    deriveKey: keyPositions((...given) => cache().deriveKey(...given)),
    peek: keyPositions((...given) => cache().peek(...given)),
    get: keyPositions((...given) => cache().get(...given)),
    getBytes: keyPositions((...given) => cache().getBytes(...given)),
    lookup: keyPositions((...given) => cache().lookup(...given)),
    put: putPositions((...given) => cache().put(...given)),
    purge: keyPositions((...given) => cache().purge(...given)),
  }
}
