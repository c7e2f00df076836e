import fc from 'fast-check'
import { expect, test } from 'vitest'
import { deriveCacheKey } from '../../cache/index.ts'
import { formatInvalidation, parseInvalidation } from '../../origin/index.ts'
import { SECRET } from './support.ts'

test('targets are joined by a comma and a space, parameters follow a semicolon', () => {
  expect(formatInvalidation([{ context: 'user', params: { user_id: 5 } }, 'notifications'])).toBe(
    'user;user_id=5, notifications',
  )
})

test('only unreserved characters stay as they are', () => {
  const ascii = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)).join('')
  const [, value = ''] = formatInvalidation([{ context: 'c', params: { a: ascii } }]).split('=')
  expect(value.replaceAll(/%[0-9A-F]{2}/g, '')).toBe(
    '-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~',
  )
  expect(formatInvalidation([{ context: 'c', params: { a: 'é, \r\nX-Evil: 1;b=2' } }])).toBe(
    'c;a=%C3%A9%2C%20%0D%0AX-Evil%3A%201%3Bb%3D2',
  )
})

const scalar = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 }),
  fc.boolean(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
)
const context = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/)
const params = fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9_]{0,8}$/), scalar, { minKeys: 1, maxKeys: 4 })

test('what is read derives the key of what was written', () => {
  fc.assert(
    fc.property(context, params, (name, given) => {
      const [target, ...more] = parseInvalidation(formatInvalidation([{ context: name, params: given }]))
      expect(more).toEqual([])
      expect(target?.context).toBe(name)
      expect(deriveCacheKey(SECRET, name, target?.params)).toBe(deriveCacheKey(SECRET, name, given))
    }),
    { numRuns: 1000 },
  )
})

test('several targets are read in their order, each once', () => {
  fc.assert(
    fc.property(fc.uniqueArray(context, { maxLength: 8 }), (names) => {
      const parsed = parseInvalidation(formatInvalidation([...names, ...names]))
      expect(parsed).toEqual(names.map((name) => ({ context: name, params: null })))
    }),
  )
})

test('an entry without parameters is told as its context', () => {
  expect(parseInvalidation(formatInvalidation([{ context: 'news', params: {} }]))).toEqual([
    { context: 'news', params: null },
  ])
})

test('a header that would be too long for a proxy tells whole contexts', () => {
  const targets = [
    { context: 'user', params: { name: 'x'.repeat(5000) } },
    { context: 'user', params: { name: 'y' } },
    'news',
  ]
  expect(formatInvalidation(targets)).toBe('user, news')
})

test.each([
  ['user;user_id', { context: 'user', params: null }],
  ['user;user_id=%zz', { context: 'user', params: null }],
  ['user;user_id=%ff', { context: 'user', params: null }],
  ['user;user_id=1;user_id=2', { context: 'user', params: null }],
  ['user;user_id=1=2', { context: 'user', params: null }],
  ['user;__proto__=1', { context: 'user', params: null }],
  ['user;', { context: 'user', params: null }],
])('%s, which nobody wrote, is the whole context', (header, expected) => {
  expect(parseInvalidation(header)).toEqual([expected])
})

test('what names no context is left out', () => {
  expect(parseInvalidation(', ;a=1, us er, *, user')).toEqual([{ context: 'user', params: null }])
})

test('reading never throws', () => {
  fc.assert(fc.property(fc.string(), (header) => void parseInvalidation(header)))
})
