/** A call written down as vectors.json writes it, so that one text means the same to JavaScript, Python and Rust. */

import { createContext, runInContext, runInThisContext } from 'node:vm'

/** JSON with the marks of vectors.json (`$int`, `$float`, `$utf16`, `$map`, `$nest`, `$repeat`) and `$js`, below. */
export type Wire = string | number | boolean | null | Wire[] | { [name: string]: Wire }

export interface Call {
  secret: Wire
  secretHex?: string | null
  context: Wire
  params: Wire
  userId: Wire
  rev: Wire
}

/** How JavaScript writes a call down where the canonical form must not care. */
export interface Shape {
  prototype: 'Object' | 'null' | 'another realm'
  /** null and default arguments are left out. */
  leavesOut: boolean
}

export interface Arguments {
  secret: unknown
  context: unknown
  params: unknown
  userId: unknown
  rev: unknown
}

const anotherRealm = createContext()

function newObject(shape: Shape): object {
  switch (shape.prototype) {
    case 'Object':
      return {}
    case 'null':
      return Object.create(null)
    case 'another realm':
      return runInContext('({})', anotherRealm)
  }
}

/** Defines rather than assigns: `__proto__` is a name like any other. */
function objectOf(members: [string, unknown][], shape: Shape): object {
  const object = newObject(shape)
  for (const [name, value] of members) {
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
  }
  return object
}

function textOf(units: string): string {
  return String.fromCharCode(...(units.match(/.{4}/g) ?? []).map((unit) => Number.parseInt(unit, 16)))
}

function numberOf(text: string): number {
  return Number(text.replace(/^(-?)inf$/, '$1Infinity').replace('nan', 'NaN'))
}

export function decode(wire: Wire, shape: Shape): unknown {
  if (Array.isArray(wire)) return wire.map((item) => decode(item, shape))
  if (typeof wire !== 'object' || wire === null) return wire
  if ('$int' in wire) return BigInt(wire.$int as string)
  if ('$float' in wire) return numberOf(wire.$float as string)
  if ('$utf16' in wire) return textOf(wire.$utf16 as string)
  if ('$js' in wire) return runInThisContext(wire.$js as string)
  if ('$map' in wire) {
    const pairs = wire.$map as [Wire, Wire][]
    return objectOf(
      pairs.map(([name, value]) => [decode(name, shape) as string, decode(value, shape)]),
      shape,
    )
  }
  if ('$nest' in wire) {
    let inner: unknown = 'x'
    for (let level = 1; level < (wire.$nest as number); level++) inner = [inner]
    return objectOf([['a', inner]], shape)
  }
  if ('$repeat' in wire) {
    const [name, text, count] = wire.$repeat as [Wire, Wire, number]
    return objectOf([[decode(name, shape) as string, (decode(text, shape) as string).repeat(count)]], shape)
  }
  return objectOf(
    Object.entries(wire).map(([name, value]) => [name, decode(value, shape)]),
    shape,
  )
}

/**
 * What Python and Rust are given in place of `{"$js": expression, "same": wire}`: the value that means the same.
 * Without `same` the call cannot be expressed there.
 */
export function withoutJavaScript(wire: Wire): Wire | undefined {
  if (typeof wire !== 'object' || wire === null) return wire
  if (!Array.isArray(wire) && '$js' in wire) return wire.same
  const translated = Object.entries(wire).map(([name, value]) => [name, withoutJavaScript(value)] as const)
  if (translated.some(([, value]) => value === undefined)) return undefined
  return Array.isArray(wire)
    ? translated.map(([, value]) => value as Wire)
    : (Object.fromEntries(translated) as { [name: string]: Wire })
}

export function decodeCall(call: Call, shape: Shape): Arguments {
  const leaveOut = (value: unknown, standard: unknown) => (shape.leavesOut && value === standard ? undefined : value)
  return {
    secret: typeof call.secretHex === 'string' ? bytesOf(call.secretHex) : decode(call.secret, shape),
    context: decode(call.context, shape),
    params: leaveOut(decode(call.params, shape), null),
    userId: leaveOut(decode(call.userId, shape), null),
    rev: leaveOut(decode(call.rev, shape), 0),
  }
}

/** A view into a larger buffer, so that an offset that is forgotten shows. */
function bytesOf(hex: string): Uint8Array {
  const bytes = Buffer.from(hex, 'hex')
  const surrounded = new Uint8Array(bytes.length + 4).fill(0xa5)
  surrounded.set(bytes, 2)
  return surrounded.subarray(2, bytes.length + 2)
}
