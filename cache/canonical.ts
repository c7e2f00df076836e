/** The canonical form of a call (`protocol.md` §1), and the fast way to it. */

import { types } from 'node:util'
import { native } from './native.ts'

/** A value that can be part of a key. */
export type ParamValue = string | number | bigint | boolean | null | ParamValue[] | { [name: string]: ParamValue }

/** The parameters of a call. */
export type Params = Record<string, ParamValue>

/** Writes the canonical form, or throws an error with a code that names what has none. */
export function canonicalForm(context: unknown, params: unknown, userId: unknown, rev: unknown): string {
  return writeCommon(context, params, userId, rev) ?? native.canonicalForm(context, params, userId, rev)
}

// What is beyond these bounds is not common, and is left to the native function, which has bounds of its own.
const MAX_LENGTH = 4_096
const MAX_NAMES = 64
const MAX_VALUES = 1_024
const MAX_DEPTH = 8
const MAX_CONTEXTS = 256
const MAX_SHAPES = 4

const CONTEXT = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
/** ASCII that stands for itself in the canonical form. */
const LITERAL = /^[ !#-[\]-~]*$/

/** What is known of a context's calls whose parameters have the same names in the same order. */
interface Shape {
  readonly names: readonly string[]
  /** The canonical form up to the first name. */
  readonly opening: string
  readonly members: readonly Member[]
}

/** A name, and what precedes its value in the canonical form. */
interface Member {
  readonly name: string
  readonly opening: string
}

/** The shapes of each context's calls; one, but for parameters that are left out at times. */
const shapes = new Map<unknown, Shape[]>()

/** How many values the present call has so far: one object may stand in many places. */
let valueCount = 0

/**
 * The canonical form of what calls commonly are: plain objects and arrays of ASCII text, numbers, booleans and null.
 * Anything that is not certain to be just that, also what is an error, is left to the native function.
 */
function writeCommon(context: unknown, params: unknown, userId: unknown, rev: unknown): string | undefined {
  let text = writeParams(context, params)
  if (text === undefined) {
    return undefined
  }
  if (rev === undefined || rev === 0) {
    text += '0'
  } else if (Number.isSafeInteger(rev) && (rev as number) > 0) {
    text += rev
  } else {
    return undefined
  }
  if (userId !== undefined && userId !== null) {
    const user = typeof userId === 'string' || Number.isSafeInteger(userId) ? writeValue(userId, 0) : undefined
    if (user === undefined) {
      return undefined
    }
    text += `,"u":${user}`
  }
  return `${text}}`
}

/** The canonical form up to the rev. */
function writeParams(context: unknown, params: unknown): string | undefined {
  try {
    const object = params ?? {}
    if (typeof object !== 'object' || Array.isArray(object) || !isPlain(object, Object.prototype)) {
      return undefined
    }
    const shape = shapeOf(context, Object.keys(object))
    if (shape === undefined) {
      return undefined
    }
    valueCount = 0
    let text = shape.opening
    for (const { name, opening } of shape.members) {
      const value = writeValue((object as Record<string, unknown>)[name], 1)
      if (value === undefined) {
        return undefined
      }
      text += opening + value
    }
    return `${text}},"r":`
  } catch {
    // A getter or a proxy threw: the native function reads again, and says where.
    return undefined
  }
}

/** What is of another realm, or has symbols as keys, is for the native function to judge. */
function isPlain(object: object, ownPrototype: object): boolean {
  const prototype = Object.getPrototypeOf(object)
  return (
    (prototype === ownPrototype || (prototype === null && ownPrototype === Object.prototype)) &&
    Object.getOwnPropertySymbols(object).length === 0
  )
}

function shapeOf(context: unknown, names: string[]): Shape | undefined {
  const known = shapes.get(context)
  if (known !== undefined) {
    for (const shape of known) {
      if (isSame(shape.names, names)) {
        return shape
      }
    }
  }
  const shape = makeShape(context, names)
  if (shape !== undefined) {
    keepShape(context, shape, known)
  }
  return shape
}

function keepShape(context: unknown, shape: Shape, known: Shape[] | undefined): void {
  if (known !== undefined && known.length < MAX_SHAPES) {
    known.push(shape)
    return
  }
  if (shapes.size >= MAX_CONTEXTS) {
    shapes.clear()
  }
  shapes.set(context, [shape])
}

function isSame(names: readonly string[], others: readonly string[]): boolean {
  if (names.length !== others.length) {
    return false
  }
  for (let index = 0; index < names.length; index++) {
    if (names[index] !== others[index]) {
      return false
    }
  }
  return true
}

function makeShape(context: unknown, names: string[]): Shape | undefined {
  const members = typeof context === 'string' && CONTEXT.test(context) ? toMembers(names) : undefined
  return members && { names, opening: `{"c":"${context}","p":{`, members }
}

/** The names in the order of the canonical form. */
function toMembers(names: string[]): Member[] | undefined {
  const isCommon = (name: string) => name.length <= MAX_NAMES && LITERAL.test(name)
  if (names.length > MAX_NAMES || !names.every(isCommon)) {
    return undefined
  }
  // Of ASCII names the order by UTF-16 unit is the order by code point.
  return [...names].sort().map((name, index) => ({ name, opening: index === 0 ? `"${name}":` : `,"${name}":` }))
}

/** A value that stands in a container of this depth. */
function writeValue(value: unknown, depth: number): string | undefined {
  switch (typeof value) {
    case 'string':
      return value.length <= MAX_LENGTH && LITERAL.test(value) ? `"${value}"` : undefined
    case 'number':
      return Number.isSafeInteger(value) || isFixed(value) ? `"${value}"` : undefined
    case 'boolean':
      return value ? '"true"' : '"false"'
    case 'object':
      return value === null ? '"null"' : writeContainer(value, depth + 1)
    default:
      return undefined
  }
}

/** Whether a number has a fraction, and is of a size that JavaScript writes as Python does: without an exponent. */
function isFixed(value: number): boolean {
  return Number.isFinite(value) && !Number.isInteger(value) && Math.abs(value) >= 1e-4
}

function writeContainer(container: object, depth: number): string | undefined {
  if (depth > MAX_DEPTH) {
    return undefined
  }
  if (Array.isArray(container)) {
    return writeItems(container, depth)
  }
  const members = isPlain(container, Object.prototype) ? toMembers(Object.keys(container)) : undefined
  if (members === undefined) {
    return undefined
  }
  let text = '{'
  for (const { name, opening } of members) {
    const value = writeValue((container as Record<string, unknown>)[name], depth)
    if (value === undefined || ++valueCount > MAX_VALUES) {
      return undefined
    }
    text += opening + value
  }
  return `${text}}`
}

function writeItems(array: readonly unknown[], depth: number): string | undefined {
  // To the native function a proxy is no array, whatever it stands for.
  if (array.length > MAX_VALUES || !isPlain(array, Array.prototype) || types.isProxy(array)) {
    return undefined
  }
  // Indices come in ascending order and before all other names: these are all of them, and nothing else.
  const names = Object.keys(array)
  if (names.length !== array.length || (names.length > 0 && names.at(-1) !== `${array.length - 1}`)) {
    return undefined
  }
  let text = '['
  for (const item of array) {
    const value = writeValue(item, depth)
    if (value === undefined || ++valueCount > MAX_VALUES) {
      return undefined
    }
    text += text === '[' ? value : `,${value}`
  }
  return `${text}]`
}
