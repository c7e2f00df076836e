/** The generator of the differential test: calls of every class that protocol.md §1 speaks of. */

import fc from 'fast-check'
import type { Call, Shape, Wire } from './cases-wire.ts'

export type Language = 'js' | 'py' | 'rs'

export interface Case {
  /** The class that the case stands for. */
  kind: string
  call: Call
  shape: Shape
  expressibleIn: Language[]
  /** `key`, the code of the one fault, or `error` where two faults may be found in either order. */
  expected: string
  /** What the message of that one fault must name. */
  faultIn?: string | undefined
}

const MAX_CANONICAL_BYTES = 1_048_576
const SECRET = 'canon-v1-test-secret-0123456789abcdef'
const EVERYWHERE: Language[] = ['js', 'py', 'rs']

const constants = <T>(...values: T[]) => fc.constantFrom(...values)
const hex = (text: string) =>
  Array.from({ length: text.length }, (_, index) => text.charCodeAt(index).toString(16).padStart(4, '0')).join('')

// Text

const unitsBetween = (first: number, last: number) =>
  fc.integer({ min: first, max: last }).map((codePoint) => String.fromCodePoint(codePoint))
const character = fc.oneof(
  { weight: 6, arbitrary: unitsBetween(0x20, 0x7e) },
  { weight: 2, arbitrary: constants('"', '\\', '/', '\b', '\t', '\n', '\f', '\r') },
  { weight: 2, arbitrary: unitsBetween(0x00, 0x1f) },
  { weight: 1, arbitrary: constants('\x7f') },
  { weight: 2, arbitrary: unitsBetween(0x80, 0xff) },
  { weight: 2, arbitrary: unitsBetween(0x100, 0xd7ff) },
  { weight: 1, arbitrary: unitsBetween(0xe000, 0xffff) },
  { weight: 2, arbitrary: unitsBetween(0x10000, 0x10ffff) },
  {
    weight: 1,
    arbitrary: constants('\u2028', '\u2029', '\ufeff', '\ufffd', '\ufffe', '\uffff', '\u{1fffe}', '\u{10ffff}'),
  },
  { weight: 1, arbitrary: constants('e\u0301', '\u00e9', '\u0130', '\u00df', '\ufb01', '\uac00', '\u200d') },
)
const wellFormed = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: character, maxLength: 12 }) },
  { weight: 2, arbitrary: fc.string({ unit: unitsBetween(0x20, 0x7e), maxLength: 24 }) },
  { weight: 1, arbitrary: fc.string({ unit: unitsBetween(0xa0, 0xff), maxLength: 24 }) },
  { weight: 1, arbitrary: fc.string({ unit: character, minLength: 200, maxLength: 400 }) },
)
const text: fc.Arbitrary<Wire> = wellFormed.chain((value) => constants<Wire>(value, { $utf16: hex(value) }))

const unpairedAmid = (around: fc.Arbitrary<string>): fc.Arbitrary<Wire> =>
  fc
    .tuple(around, fc.integer({ min: 0xd800, max: 0xdfff }), around)
    .map(([before, surrogate, after]) => before + String.fromCharCode(surrogate) + after)
    .map((value) => ({ $utf16: hex(value) }))
const unpaired = unpairedAmid(wellFormed)

// Numbers. A JavaScript number that is integral and safe is the others' integer, beyond that it is an error everywhere.

const random64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((bits) => {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, bits)
  return view.getFloat64(0)
})
const neighbour = (value: number, steps: number) => {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  view.setBigUint64(0, view.getBigUint64(0) + BigInt(steps))
  return view.getFloat64(0)
}
const near = (value: fc.Arbitrary<number>) =>
  fc.tuple(value, fc.integer({ min: -3, max: 3 }), fc.boolean()).map(([centre, steps, negative]) => {
    const magnitude = neighbour(centre, steps)
    return negative ? -magnitude : magnitude
  })
const double = fc.oneof(
  { weight: 4, arbitrary: random64 },
  { weight: 2, arbitrary: near(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })) },
  { weight: 2, arbitrary: near(fc.integer({ min: -323, max: 308 }).map((exponent) => Number(`1e${exponent}`))) },
  { weight: 1, arbitrary: near(constants(1e-4, 1e-5, 1e-6, 1e-7, 1e15, 1e16, 1e21, 2 ** 53, 2 ** 63, 2 ** 64)) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 2 ** 40 }).map((count) => count * Number.MIN_VALUE) },
  // Digits that end half-way between two shortest candidates stand among the multiples of small powers of two.
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), fc.integer({ min: 1, max: 12 }))
      .map(([count, power]) => count / 2 ** power),
  },
  { weight: 2, arbitrary: fc.tuple(fc.integer(), fc.integer({ min: 1, max: 6 })).map(([n, d]) => n / 10 ** d) },
)
const float = (value: number): Wire => ({ $float: String(value).replace('Infinity', 'inf').replace('NaN', 'nan') })
const fractional = double.filter((value) => Number.isFinite(value) && !Number.isInteger(value)).map(float)
const beyondSafe = double
  .filter((value) => !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)))
  .map(float)
const safeInteger: fc.Arbitrary<Wire> = fc.oneof(
  fc.integer({ min: -20, max: 20 }),
  fc.integer(),
  fc.maxSafeInteger(),
  constants(Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2 ** 31, -(2 ** 31) - 1, 2 ** 32),
  constants<Wire>({ $js: '-0', same: 0 }),
)
const bigIntegers = (...ends: bigint[]) =>
  fc.tuple(constants(...ends), fc.bigInt({ min: -2n, max: 2n })).map(([end, offset]) => end + offset)
const inRange = (value: bigint) => value >= -(2n ** 63n) && value < 2n ** 64n
const anyInteger = fc.oneof(
  bigIntegers(0n, 2n ** 53n, -(2n ** 53n), 2n ** 63n, -(2n ** 63n), 2n ** 64n),
  fc.bigInt({ min: -(2n ** 80n), max: 2n ** 80n }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
)
const bigInteger: fc.Arbitrary<Wire> = anyInteger.filter(inRange).map((value) => ({ $int: String(value) }))
const beyondRange: fc.Arbitrary<Wire> = anyInteger
  .filter((value) => !inRange(value))
  .map((value) => ({ $int: String(value) }))

// Containers

const name = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: unitsBetween(0x61, 0x7a), minLength: 1, maxLength: 6 }) },
  { weight: 3, arbitrary: wellFormed },
  { weight: 2, arbitrary: constants('10', '2', '1', '01', '-1', '0', '4294967295', '9007199254740993') },
  { weight: 2, arbitrary: constants('__proto__', 'constructor', 'toString', 'toJSON', 'length', 'u', '$int', '') },
  // Where the order by UTF-16 unit and the order by code point part.
  {
    weight: 2,
    arbitrary: constants('\ud800\udc00', '\uff61', '\ue000', '\ud7ff', '\uffff', '\u{10ffff}', 'a\u{1f600}', 'a\uff5e'),
  },
)
const mapOf = (value: fc.Arbitrary<Wire>, maxLength: number): fc.Arbitrary<Wire> =>
  fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength }).map((pairs) => ({ $map: pairs }))

const scalar = fc.oneof(
  { weight: 6, arbitrary: text },
  { weight: 3, arbitrary: safeInteger },
  { weight: 4, arbitrary: fractional },
  { weight: 2, arbitrary: bigInteger },
  { weight: 1, arbitrary: constants<Wire>(true, false, null) },
)
const { value } = fc.letrec<{ value: Wire }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    { weight: 6, arbitrary: scalar },
    { weight: 1, arbitrary: fc.array(tie('value'), { maxLength: 4 }) },
    { weight: 1, arbitrary: mapOf(tie('value'), 4) },
  ),
}))
const params = mapOf(value, 6)

/** Few names in many orders: what is remembered of one call meets the next. */
const ofFewShapes: fc.Arbitrary<Wire> = fc
  .shuffledSubarray(['id', 'page', 'sort', '2', '10', '_'])
  .chain((names) => fc.tuple(...names.map((key) => fc.tuple(fc.constant(key), value))))
  .map((pairs) => ({ $map: pairs }))

/** `inner` at the given depth under params, which is depth 1. */
function nested(inner: Wire, depth: number, inMaps: boolean): Wire {
  let wrapped = inner
  for (let level = 1; level < depth; level++)
    wrapped = inMaps && level % 2 === 0 ? { $map: [['n', wrapped]] } : [wrapped]
  return { $map: [['a', wrapped]] }
}

/** Params with one member that may be nested a little, among others that are as they should be. */
function paramsWith(member: fc.Arbitrary<[Wire, Wire]>): fc.Arbitrary<Wire> {
  return fc
    .tuple(mapOf(value, 3), member, constants('here', 'in a list', 'in a map'))
    .map(([others, [key, faulty], place]) => {
      const pairs = (others as { $map: [Wire, Wire][] }).$map.filter(([otherKey]) => otherKey !== key)
      if (place === 'here') return { $map: [...pairs, [key, faulty]] }
      const map: Wire = { $map: [[key, faulty]] }
      return { $map: [...pairs, ['\u{10ffff}nested', place === 'in a list' ? ['x', map] : map]] }
    })
}
const paramsWithValue = (faulty: fc.Arbitrary<Wire>) => paramsWith(fc.tuple(name, faulty))

/** Params whose canonical form, for context `user`, rev 0 and no user, is up to two bytes shorter or longer than allowed. */
const nearTheLimit = fc
  .tuple(
    constants<[string, number]>(
      ['x', 1],
      ['"', 2],
      ['\n', 2],
      ['\x7f', 6],
      ['\u00e9', 6],
      ['\uffff', 6],
      ['\u{1f600}', 12],
    ),
    fc.integer({ min: -2, max: 2 }),
  )
  .map(([[repeated, cost], excess]) => {
    const room = MAX_CANONICAL_BYTES + excess - '{"c":"user","p":{"a":{"b":""},"c":""},"r":0}'.length
    const params: Wire = {
      $map: [
        ['a', { $repeat: ['b', repeated, Math.floor(room / cost)] }],
        ['c', 'x'.repeat(room % cost)],
      ],
    }
    return { params, excess }
  })

// Calls

const contextCharacter = constants(...'abcxyzABCXYZ0189_.-')
const legalContext = fc
  .tuple(
    contextCharacter.filter((character) => character !== '.' && character !== '-'),
    fc.string({ unit: contextCharacter, maxLength: 127 }),
  )
  .map((parts) => parts.join(''))
const illegalContext: fc.Arbitrary<Wire> = fc.oneof(
  fc
    .tuple(
      legalContext,
      constants(
        ':',
        '*',
        '?',
        '[',
        ']',
        '\\',
        ' ',
        '\n',
        '\r',
        '\0',
        '/',
        '{',
        '}',
        '\u00e9',
        '\u0661',
        '\u{1f600}',
        '\x7f',
      ),
      fc.nat({ max: 127 }),
    )
    .map(([context, illegal, at]) => context.slice(0, at) + illegal + context.slice(at)),
  constants<Wire>('', '.user', '-user', 'x'.repeat(129), 'x'.repeat(5_000), null, true, 5, ['user'], { $map: [] }),
)

const secret: fc.Arbitrary<Pick<Call, 'secret' | 'secretHex'>> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ secret: SECRET }) },
  { weight: 1, arbitrary: wellFormed.filter((value) => value !== '').map((value) => ({ secret: value })) },
  {
    weight: 1,
    arbitrary: fc
      .uint8Array({ minLength: 1, maxLength: 200 })
      .map((bytes) => ({ secret: null, secretHex: Buffer.from(bytes).toString('hex') })),
  },
)
const userId = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Wire>(null) },
  { weight: 2, arbitrary: text },
  { weight: 1, arbitrary: constants<Wire>('', '0', 0, 'null', 'undefined') },
  { weight: 1, arbitrary: safeInteger },
  { weight: 1, arbitrary: bigInteger },
)
const rev = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Wire>(0) },
  { weight: 1, arbitrary: fc.nat() },
  {
    weight: 1,
    arbitrary: constants<Wire>(1, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 1, { $js: '-0', same: 0 }),
  },
)
const shape: fc.Arbitrary<Shape> = fc.record({
  prototype: constants<Shape['prototype']>('Object', 'Object', 'null', 'another realm'),
  leavesOut: fc.boolean(),
})
const validCall: fc.Arbitrary<Call> = fc
  .tuple(
    secret,
    fc.record({ context: legalContext, params: fc.oneof(params, constants<Wire>(null, { $map: [] })), userId, rev }),
  )
  .map(([signing, rest]) => ({ ...signing, ...rest }))

/** JavaScript says userId, Python user_id. */
const faultIn: Record<keyof Call, string> = {
  secret: 'secret',
  secretHex: 'secret',
  context: 'context',
  params: 'params',
  userId: 'user',
  rev: 'rev',
}

/** Calls of one kind: a valid call in which `part` is replaced. */
function kind(
  label: string,
  expected: string,
  part: fc.Arbitrary<Partial<Call>>,
  expressibleIn: Language[] = EVERYWHERE,
): fc.Arbitrary<Case> {
  return fc.tuple(validCall, part, shape).map(([call, replaced, written]) => ({
    kind: label,
    call: { ...call, ...replaced },
    shape: written,
    expressibleIn,
    expected,
    faultIn: expected.startsWith('ERR_') ? faultIn[Object.keys(replaced)[0] as keyof Call] : undefined,
  }))
}
const withParams = (arbitrary: fc.Arbitrary<Wire>) => arbitrary.map((replaced): Partial<Call> => ({ params: replaced }))

const inJavaScript = (...expressions: string[]) =>
  constants<Wire>(...expressions.map((expression) => ({ $js: expression })))
/** What has no canonical form, neither as a value nor as the parameters themselves. */
const unknownTypes = [
  '(() => 1)',
  'Symbol("x")',
  'Symbol.iterator',
  'new Date(0)',
  'new Map([["a", 1]])',
  'new Set([1])',
  'new (class Point { x = 1 })()',
  '({ toJSON() { return 1 } })',
  'Object.create({ inherited: 1 })',
  '/x/',
  'new String("x")',
  'new Number(1)',
  'new Boolean(true)',
  'Object(1n)',
  'new Uint8Array(1)',
  'new ArrayBuffer(1)',
  'new DataView(new ArrayBuffer(1))',
  'Promise.resolve(1)',
  'new WeakMap()',
  'new Error("x")',
  'globalThis',
  '[1, , 3]',
  'new Array(3)',
  '[undefined]',
  'Object.setPrototypeOf(["a"], null)',
  'Object.setPrototypeOf(["a"], Object.prototype)',
  'new Proxy({ a: 1 }, { ownKeys() { throw new Error("trap") } })',
  '({ get a() { throw new Error("getter") } })',
]
const onlyInJavaScript = inJavaScript('undefined', ...unknownTypes)

/** Canonical forms that just fit, and that just do not. */
export const casesNearTheLimit: fc.Arbitrary<Case> = fc.oneof(
  ...[true, false].map((fits) =>
    kind(
      fits ? 'as long as allowed' : 'longer than allowed',
      fits ? 'key' : 'ERR_MIZAN_SIZE',
      nearTheLimit
        .filter(({ excess }) => fits === excess <= 0)
        .map(({ params: replaced }) => ({ params: replaced, context: 'user', userId: null, rev: 0 })),
    ),
  ),
)

const kinds: { weight: number; arbitrary: fc.Arbitrary<Case> }[] = [
  { weight: 60, arbitrary: kind('any valid call', 'key', fc.constant({})) },
  {
    weight: 12,
    arbitrary: kind(
      'calls of few shapes',
      'key',
      fc.record({ context: constants('user', 'users', 'user.x'), params: ofFewShapes }),
    ),
  },
  { weight: 12, arbitrary: kind('text', 'key', withParams(mapOf(text, 4))) },
  { weight: 16, arbitrary: kind('doubles', 'key', withParams(mapOf(fractional, 4))) },
  { weight: 8, arbitrary: kind('integers', 'key', withParams(mapOf(fc.oneof(safeInteger, bigInteger), 4))) },
  { weight: 8, arbitrary: kind('many keys', 'key', withParams(mapOf(scalar, 40))) },
  {
    weight: 4,
    arbitrary: kind(
      'nested up to 32',
      'key',
      withParams(
        fc
          .tuple(fc.oneof(scalar, constants<Wire>([], { $map: [] })), fc.integer({ min: 28, max: 31 }), fc.boolean())
          .map(([inner, depth, inMaps]) => nested(inner, depth, inMaps)),
      ),
    ),
  },
  {
    weight: 3,
    arbitrary: kind(
      'nested deeper than 32',
      'ERR_MIZAN_DEPTH',
      withParams(
        fc.oneof(
          fc
            .tuple(constants<Wire>([], { $map: [] }, ['x']), fc.integer({ min: 32, max: 36 }), fc.boolean())
            .map(([inner, depth, inMaps]) => nested(inner, depth, inMaps)),
          fc.integer({ min: 33, max: 20_000 }).map((levels) => ({ $nest: levels })),
        ),
      ),
    ),
  },
  { weight: 4, arbitrary: kind('surrogate in a value', 'ERR_MIZAN_SURROGATE', withParams(paramsWithValue(unpaired))) },
  {
    weight: 3,
    arbitrary: kind('surrogate in a key', 'ERR_MIZAN_SURROGATE', withParams(paramsWith(fc.tuple(unpaired, scalar)))),
  },
  {
    weight: 2,
    arbitrary: kind(
      'surrogate in the user',
      'ERR_MIZAN_SURROGATE',
      unpaired.map((faulty) => ({ userId: faulty })),
    ),
  },
  {
    weight: 2,
    arbitrary: kind(
      'surrogate in the secret',
      'ERR_MIZAN_SURROGATE',
      unpaired.map((faulty) => ({ secret: faulty, secretHex: null })),
    ),
  },
  {
    weight: 1,
    arbitrary: kind(
      'surrogate in the context',
      'ERR_MIZAN_SURROGATE',
      // Not so long that it would be a second fault.
      unpairedAmid(fc.string({ unit: character, maxLength: 20 })).map((faulty) => ({ context: faulty })),
    ),
  },
  {
    weight: 4,
    arbitrary: kind(
      'illegal context',
      'ERR_MIZAN_CONTEXT',
      illegalContext.map((faulty) => ({ context: faulty })),
    ),
  },
  {
    weight: 4,
    arbitrary: kind(
      'number without a form',
      'ERR_MIZAN_PARAM_NUMBER',
      withParams(
        paramsWithValue(
          fc.oneof(
            beyondSafe,
            beyondRange,
            constants('nan', 'inf', '-inf').map((digits) => ({ $float: digits })),
          ),
        ),
      ),
    ),
  },
  {
    weight: 2,
    arbitrary: kind(
      'integral float',
      'ERR_MIZAN_PARAM_NUMBER',
      withParams(
        paramsWithValue(
          fc
            .oneof(fc.integer(), fc.maxSafeInteger(), constants(-0))
            .map((number) => ({ $float: Object.is(number, -0) ? '-0.0' : `${number}.0` })),
        ),
      ),
      ['py', 'rs'],
    ),
  },
  {
    weight: 2,
    arbitrary: kind(
      'the same key twice',
      'ERR_MIZAN_DUPLICATE_KEY',
      withParams(
        fc.tuple(mapOf(scalar, 4), fc.tuple(name, scalar, scalar)).map(([map, [twice, one, other]]) => ({
          $map: [
            [twice, one],
            ...(map as { $map: [Wire, Wire][] }).$map.filter(([otherName]) => otherName !== twice),
            [twice, other],
          ],
        })),
      ),
      ['rs'],
    ),
  },
  {
    weight: 3,
    arbitrary: kind('value only in JavaScript', 'ERR_MIZAN_PARAM_TYPE', withParams(paramsWithValue(onlyInJavaScript)), [
      'js',
    ]),
  },
  {
    weight: 1,
    arbitrary: kind(
      'params of another type',
      'ERR_MIZAN_PARAM_TYPE',
      withParams(constants<Wire>(['a'], [], 'a', '', 5, 0, true, false)),
    ),
  },
  {
    weight: 1,
    arbitrary: kind(
      'params only in JavaScript',
      'ERR_MIZAN_PARAM_TYPE',
      withParams(inJavaScript('1n', '["a"]', 'new Proxy([], {})', ...unknownTypes)),
      ['js'],
    ),
  },
  {
    weight: 3,
    arbitrary: kind(
      'user of another type',
      'ERR_MIZAN_USER',
      fc
        .oneof(
          constants<Wire>(true, false, [], ['x'], { $map: [] }),
          fractional,
          beyondSafe,
          beyondRange,
          fc.constant<Wire>({ $float: 'nan' }),
        )
        .map((faulty) => ({ userId: faulty })),
    ),
  },
  {
    weight: 3,
    arbitrary: kind(
      'rev out of range',
      'ERR_MIZAN_REV',
      fc
        .oneof(
          constants<Wire>(-1, true, false, '0', '', [], { $map: [] }, { $int: '9007199254740992' }, { $float: 'nan' }),
          fractional,
          beyondSafe,
          fc.integer({ max: -1 }),
        )
        .map((faulty) => ({ rev: faulty })),
    ),
  },
  {
    weight: 1,
    arbitrary: kind(
      'secret that cannot sign',
      'ERR_MIZAN_SECRET',
      constants<Partial<Call>>(
        { secret: '', secretHex: null },
        { secret: null, secretHex: '' },
        { secret: null, secretHex: null },
        { secret: 5, secretHex: null },
        { secret: true, secretHex: null },
      ),
    ),
  },
  {
    weight: 2,
    arbitrary: kind(
      'two faults',
      'error',
      fc
        .tuple(
          paramsWithValue(fc.oneof(unpaired, beyondRange, beyondSafe)),
          fc.oneof(
            illegalContext.map((faulty): Partial<Call> => ({ context: faulty })),
            fc.constant<Partial<Call>>({ rev: -1 }),
            fc.constant<Partial<Call>>({ userId: true }),
            fc.constant<Partial<Call>>({ secret: '', secretHex: null }),
          ),
        )
        .map(([faulty, other]) => ({ params: faulty, ...other })),
    ),
  },
]

/** How many kinds are common enough to be among a few thousand cases. */
export const commonKindCount = kinds.length

export const cases: fc.Arbitrary<Case> = fc.oneof(
  ...kinds.map(({ weight, arbitrary }) => ({ weight: weight * 5, arbitrary })),
  // Rare, for each is a megabyte.
  { weight: 1, arbitrary: casesNearTheLimit },
)
