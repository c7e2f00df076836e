import fc from 'fast-check'
import { expect, test } from 'vitest'
import { deterministicJson } from '../../origin/bundle.ts'

test('keys stand in code point order at every depth, and there is no white space', () => {
  expect(deterministicJson({ b: [{ d: 1, c: 2 }], a: { '\u{1f600}': 1, '\uffee': 2, '10': 3, '9': 4 } })).toBe(
    '{"a":{"10":3,"9":4,"\uffee":2,"\u{1f600}":1},"b":[{"c":2,"d":1}]}',
  )
})

test('everything but the order is as JSON.stringify does it', () => {
  fc.assert(
    fc.property(
      fc.anything({ withDate: true, withBoxedValues: true, withSparseArray: true, withNullPrototype: true }),
      (value) => {
        expect(JSON.parse(deterministicJson(value))).toStrictEqual(JSON.parse(JSON.stringify(value) ?? 'null'))
      },
    ),
    { numRuns: 2000 },
  )
})

test('equal data are equal bytes, in whatever order they were built', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()), (object) => {
      const turned = Object.fromEntries(Object.entries(object).reverse())
      expect(deterministicJson(turned)).toBe(deterministicJson(object))
    }),
  )
})

test('toJSON is asked with the key, and what cannot be written is an error', () => {
  expect(deterministicJson({ at: { toJSON: (key: string) => `at ${key}` }, day: new Date(0) })).toBe(
    '{"at":"at at","day":"1970-01-01T00:00:00.000Z"}',
  )
  expect(() => deterministicJson({ amount: 1n })).toThrow(TypeError)
})
