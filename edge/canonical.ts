/**
 * The canonical form of a call (`protocol.md` §1) in TypeScript alone, for runtimes without native code: the same bytes
 * that every other implementation writes, or an error that names the place.
 */

import { compareCodePoints } from '../origin/code-points.ts'
import type { Params, UserId } from '../origin/origin-cache.ts'
import { codedError } from './errors.ts'
import { errorAt, type Path, rootPath } from './path.ts'
import { enumerableKeys, isPlainArray, isPlainObject } from './plain.ts'
import { escapedLength, escapeText, isWellFormed } from './text.ts'

const MAX_BYTES = 1_048_576
const MAX_DEPTH = 32
const CONTEXT = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
const SMALLEST_INTEGER = -(2n ** 63n)
const LARGEST_INTEGER = 2n ** 64n - 1n
const OUT_OF_RANGE = 'an integer must be in [-2^63, 2^64-1]'

/**
 * The canonical form of a call whose context is legal in a key.
 *
 * @throws an error whose `code` is `ERR_MIZAN_` and one of `CONTEXT`, `PARAM_TYPE`, `PARAM_NUMBER`, `SURROGATE`, `DEPTH`,
 * `SIZE`, `USER`, `REV`
 */
export function canonicalForm(context: string, params?: Params | null, userId?: UserId | null, rev?: number): string {
  if (typeof context === 'string' && !isWellFormed(context)) throw loneSurrogate(rootPath('context'))
  if (!isContext(context)) {
    throw codedError('ERR_MIZAN_CONTEXT', 'context must match [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}')
  }
  return encodeCall(context, params, userId, rev)
}

/** Whether a context is legal in a key (§1.9). */
export function isContext(context: unknown): boolean {
  return typeof context === 'string' && CONTEXT.test(context)
}

/** The canonical form with any text as its context, also one that is not legal in a key. */
export function encodeCall(context: string, params?: Params | null, userId?: UserId | null, rev: number = 0): string {
  const writer = new Writer()
  const writtenContext = writer.text(context, rootPath('context'))
  const writtenParams = writer.params(params)
  const writtenUser = writer.user(userId)
  if (!Number.isSafeInteger(rev) || rev < 0) {
    throw codedError('ERR_MIZAN_REV', 'rev: must be an integer in [0, 2^53-1]')
  }
  const text = `{"c":${writtenContext},"p":${writtenParams},"r":${rev}${writtenUser}}`
  if (text.length > MAX_BYTES) throw tooLong(rootPath('params'))
  return text
}

/** Writes values as long as there is room for them: what is too long is refused before it is escaped. */
class Writer {
  #room = MAX_BYTES

  params(params: unknown): string {
    const path = rootPath('params')
    if (params === undefined || params === null) return '{}'
    if (typeof params !== 'object' || isArray(params, path)) {
      throw errorAt(path, 'ERR_MIZAN_PARAM_TYPE', 'must be a plain object, null or undefined')
    }
    return this.#members(params, 1, path)
  }

  user(userId: unknown): string {
    if (userId === undefined || userId === null) return ''
    const path = rootPath('userId')
    switch (typeof userId) {
      case 'string':
        return `,"u":${this.text(userId, path)}`
      case 'number':
        if (!Number.isSafeInteger(userId)) throw errorAt(path, 'ERR_MIZAN_USER', 'a number must be a safe integer')
        break
      case 'bigint':
        if (!isInRange(userId)) throw errorAt(path, 'ERR_MIZAN_USER', OUT_OF_RANGE)
        break
      default:
        throw errorAt(path, 'ERR_MIZAN_USER', 'must be a string, an integer, a bigint, null or undefined')
    }
    return `,"u":"${userId}"`
  }

  text(text: string, path: Path): string {
    // Escaping never shortens a text, so one that is too long as it stands is not even read.
    this.#spend(text.length + '""'.length, path)
    if (!isWellFormed(text)) throw loneSurrogate(path)
    this.#spend(escapedLength(text) - text.length, path)
    return `"${escapeText(text)}"`
  }

  /** A value that stands in a container of this depth. */
  #value(value: unknown, depth: number, path: Path): string {
    switch (typeof value) {
      case 'string':
        return this.text(value, path)
      case 'number':
        return this.#scalar(numberText(value, path), path)
      case 'bigint':
        if (!isInRange(value)) throw errorAt(path, 'ERR_MIZAN_PARAM_NUMBER', OUT_OF_RANGE)
        return this.#scalar(String(value), path)
      case 'boolean':
        return this.#scalar(String(value), path)
      case 'object':
        if (value === null) return this.#scalar('null', path)
        return isArray(value, path) ? this.#items(value, depth + 1, path) : this.#members(value, depth + 1, path)
      case 'undefined':
        throw errorAt(path, 'ERR_MIZAN_PARAM_TYPE', 'undefined is no value: leave the member out, or say null')
      default:
        throw errorAt(path, 'ERR_MIZAN_PARAM_TYPE', `a ${typeof value} is no value`)
    }
  }

  #scalar(text: string, path: Path): string {
    this.#spend(text.length + '""'.length, path)
    return `"${text}"`
  }

  #members(object: object, depth: number, path: Path): string {
    checkDepth(depth, path)
    if (!readable(path, () => isPlainObject(object))) {
      throw errorAt(path, 'ERR_MIZAN_PARAM_TYPE', 'an object must be a plain one')
    }
    const keys = readable(path, () => enumerableKeys(object))
    // The braces, a colon for each member, a comma between two.
    this.#spend('{}'.length + Math.max(0, 2 * keys.length - 1), path)
    const members: [string, string][] = []
    for (const name of keys) {
      if (typeof name === 'symbol') {
        throw errorAt(path, 'ERR_MIZAN_PARAM_TYPE', 'an object must have no symbol as a key')
      }
      const member = { parent: path, step: name }
      const writtenName = this.text(name, member)
      const value = readable(member, () => (object as Record<string, unknown>)[name])
      members.push([name, `${writtenName}:${this.#value(value, depth, member)}`])
    }
    members.sort(([left], [right]) => compareCodePoints(left, right))
    return `{${members.map(([, written]) => written).join(',')}}`
  }

  #items(array: readonly unknown[], depth: number, path: Path): string {
    checkDepth(depth, path)
    // Before its elements are looked at: the length alone may be four billion.
    const length = readable(path, () => array.length)
    this.#spend('[]'.length + Math.max(0, length - 1), path)
    if (!readable(path, () => isPlainArray(array))) {
      throw errorAt(path, 'ERR_MIZAN_PARAM_TYPE', 'an array must be a plain one, without holes or other members')
    }
    const items: string[] = []
    for (let index = 0; index < length; index++) {
      const item = { parent: path, step: index }
      items.push(
        this.#value(
          readable(item, () => array[index]),
          depth,
          item,
        ),
      )
    }
    return `[${items.join(',')}]`
  }

  #spend(bytes: number, path: Path): void {
    this.#room -= bytes
    if (this.#room < 0) throw tooLong(path)
  }
}

/** JavaScript and Python agree on the digits; Python has an exponent below 1e-4, of two digits at least (§1.4). */
function numberText(number: number, path: Path): string {
  if (Number.isSafeInteger(number)) return String(number)
  if (!Number.isFinite(number) || Number.isInteger(number)) {
    throw errorAt(
      path,
      'ERR_MIZAN_PARAM_NUMBER',
      'a number must be finite, and a safe integer if it is integral: larger ones need BigInt',
    )
  }
  if (Math.abs(number) >= 1e-4) return String(number)
  const [digits = '', exponent = ''] = number.toExponential().split('e-')
  return `${digits}e-${exponent.padStart(2, '0')}`
}

function isInRange(integer: bigint): boolean {
  return integer >= SMALLEST_INTEGER && integer <= LARGEST_INTEGER
}

function checkDepth(depth: number, path: Path): void {
  if (depth > MAX_DEPTH) throw errorAt(path, 'ERR_MIZAN_DEPTH', `parameters are nested deeper than ${MAX_DEPTH}`)
}

function isArray(value: object, path: Path): value is readonly unknown[] {
  return readable(path, () => Array.isArray(value))
}

/** Where the caller's own code throws while it is read, the place is named instead. */
function readable<Value>(path: Path, read: () => Value): Value {
  try {
    return read()
  } catch {
    throw errorAt(path, 'ERR_MIZAN_PARAM_TYPE', 'reading it threw an exception')
  }
}

function loneSurrogate(path: Path): Error {
  return errorAt(path, 'ERR_MIZAN_SURROGATE', 'the text has an unpaired surrogate')
}

function tooLong(path: Path): Error {
  return errorAt(path, 'ERR_MIZAN_SIZE', `the canonical form is longer than ${MAX_BYTES} bytes`)
}
