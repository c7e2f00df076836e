/** JavaScript values of every type that no one should pass, made afresh for each call. */

export interface WrongValue {
  name: string
  make: () => unknown
}

class Instance {
  a = 1
}

function detached(): Uint8Array {
  const view = new Uint8Array(64)
  structuredClone(view.buffer, { transfer: [view.buffer] })
  return view
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

/** A proxy that throws whatever is asked of it. */
function hostile(target: object): object {
  const trap = () => {
    throw new Error('not to be seen')
  }
  return new Proxy(
    target,
    Object.fromEntries(Object.getOwnPropertyNames(Reflect).map((name) => [name, trap])) as ProxyHandler<object>,
  )
}

function cyclicObject(): object {
  const cycle: { self?: object } = {}
  cycle.self = cycle
  return cycle
}

function cyclicArray(): unknown[] {
  const cycle: unknown[] = []
  cycle.push(cycle)
  return cycle
}

function nested(levels: number): unknown {
  let value: unknown = {}
  for (let level = 0; level < levels; level++) value = { a: value }
  return value
}

export const wrongValues: WrongValue[] = Object.entries<() => unknown>({
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  false: () => false,
  NaN: () => Number.NaN,
  '-1': () => -1,
  '-0': () => -0,
  '0': () => 0,
  '1.5': () => 1.5,
  Infinity: () => Number.POSITIVE_INFINITY,
  '2 ** 53': () => 2 ** 53,
  'the least double': () => Number.MIN_VALUE,
  '0n': () => 0n,
  '-1n': () => -1n,
  '2n ** 64n': () => 2n ** 64n,
  '-(2n ** 63n) - 1n': () => -(2n ** 63n) - 1n,
  '2n ** 10_000n': () => 2n ** 10_000n,
  'an empty string': () => '',
  'a string': () => 'text',
  'a string with a space': () => 'two words',
  'a string with NUL': () => 'a\0b',
  'a lone high surrogate': () => 'a\ud800',
  'a lone low surrogate': () => '\udc00a',
  'a string of 2 MiB': () => 'x'.repeat(2 ** 21),
  'a string of 48 letters': () => 's'.repeat(48),
  'a symbol': () => Symbol('secret'),
  'a well-known symbol': () => Symbol.iterator,
  'a function': () => () => 1,
  'an async function': () => async () => 1,
  'a class': () => Instance,
  'an instance of a class': () => new Instance(),
  'an instance with toJSON': () =>
    new (class {
      toJSON = () => 'text'
    })(),
  'an object with toString': () => ({ toString: () => 'text' }),
  'an object with valueOf': () => ({ valueOf: () => 1 }),
  'an object with Symbol.toPrimitive': () => ({ [Symbol.toPrimitive]: () => 'text' }),
  'an object that inherits': () => Object.create({ inherited: 1 }),
  'an object with a member of every sort': () => ({ text: 'x', list: [1, 'x', null], map: { a: 1n } }),
  'an empty object': () => ({}),
  'an empty object without prototype': () => Object.create(null),
  'an object with a getter that throws': () => ({
    get a() {
      throw new Error('not to be seen')
    },
  }),
  'an object with a getter that throws no error': () => ({
    get a() {
      throw undefined
    },
  }),
  'an object with a symbol key': () => ({ [Symbol('a')]: 1 }),
  'a thenable': () => ({
    // biome-ignore lint/suspicious/noThenProperty: a value that must not be awaited by accident
    then() {
      throw new Error('not to be seen')
    },
  }),
  'a cyclic object': cyclicObject,
  'an object nested 40 levels': () => nested(40),
  'an object nested 100,000 levels': () => nested(100_000),
  'a proxy of an object': () => new Proxy({}, {}),
  'a proxy that throws': () => hostile({}),
  'a proxy of an array that throws': () => hostile([]),
  'a proxy of a function that throws': () => hostile(() => 1),
  'a revoked proxy': revoked,
  'a Date': () => new Date(0),
  'an invalid Date': () => new Date(Number.NaN),
  'a RegExp': () => /x/,
  'a Map': () => new Map([['a', 1]]),
  'a Set': () => new Set([1]),
  'a WeakMap': () => new WeakMap(),
  'a Promise': () => Promise.resolve('text'),
  'an Error': () => new Error('text'),
  'a URL': () => new URL('redis://127.0.0.1'),
  'an iterator': () => [1][Symbol.iterator](),
  'a boxed string': () => new String('text'),
  'a boxed number': () => new Number(1),
  'a boxed boolean': () => new Boolean(true),
  'a boxed bigint': () => Object(1n),
  'a boxed symbol': () => Object(Symbol('x')),
  'an empty array': () => [],
  'an array of strings': () => ['text'],
  'a sparse array': () => new Array(3),
  'a sparse array of the greatest length': () => new Array(2 ** 32 - 1),
  'an array with a hole': () => Object.assign(['a', 'b', 'c'], { length: 5 }),
  'an array with undefined': () => [undefined],
  'a cyclic array': cyclicArray,
  'an array of 300,000 items': () => new Array(300_000).fill(1),
  'an array with a getter that throws': () =>
    Object.defineProperty(['a'], 0, {
      get() {
        throw new Error('not to be seen')
      },
    }),
  'an empty Uint8Array': () => new Uint8Array(0),
  'a Uint8Array': () => new Uint8Array(48).fill(7),
  'a Buffer': () => Buffer.alloc(48, 7),
  'a Float64Array': () => new Float64Array(6),
  'a BigInt64Array': () => new BigInt64Array(6),
  'a DataView': () => new DataView(new ArrayBuffer(48)),
  'an ArrayBuffer': () => new ArrayBuffer(48),
  'a SharedArrayBuffer': () => new SharedArrayBuffer(48),
  'a Uint8Array of shared memory': () => new Uint8Array(new SharedArrayBuffer(48)),
  'a detached Uint8Array': detached,
  'a Uint8Array of a resizable buffer': () => {
    const resizable = new (ArrayBuffer as new (length: number, options: object) => ArrayBuffer)(48, {
      maxByteLength: 64,
    })
    return new Uint8Array(resizable)
  },
  'a Uint8Array whose length was taken over': () => Object.defineProperty(new Uint8Array(48), 'length', { value: 1e9 }),
  'a Uint8Array whose byteLength was taken over': () =>
    Object.defineProperty(new Uint8Array(48), 'byteLength', { value: 1e9 }),
  globalThis: () => globalThis,
}).map(([name, make]) => ({ name, make }))
