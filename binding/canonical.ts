/** The canonical form of a call (`protocol.md` §1), and the fast way to it. */

import { native } from './native.ts'

/** A value that can be part of a key. */
export type ParamValue = string | number | bigint | boolean | null | ParamValue[] | { [name: string]: ParamValue }

/** The parameters of a call. */
export type Params = Record<string, ParamValue>

const MAX_LENGTH = 1_048_576
const CONTEXT = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
/** ASCII that stands for itself in the canonical form. */
const LITERAL = /^[ !#-[\]-~]*$/

/** Writes the canonical form, or throws an error with a code that names what has none. */
export function canonicalForm(context: unknown, params: unknown, userId: unknown, rev: unknown): string {
  return writeCommon(context, params, userId, rev) ?? native.canonicalForm(context, params, userId, rev)
}

/**
 * The canonical form of what calls commonly are: flat parameters of ASCII text, numbers, booleans and null. Anything
 * that is not certain to be just that, also what is an error, is left to the native function.
 */
function writeCommon(context: unknown, params: unknown, userId: unknown, rev: unknown): string | undefined {
  if (typeof context !== 'string' || !CONTEXT.test(context)) {
    return undefined
  }
  const members = writeMembers(params)
  if (members === undefined) {
    return undefined
  }
  let text = `{"c":"${context}","p":{${members}},"r":`
  if (rev === undefined || rev === 0) {
    text += '0'
  } else if (Number.isSafeInteger(rev) && (rev as number) > 0) {
    text += rev
  } else {
    return undefined
  }
  if (userId !== undefined && userId !== null) {
    const user = typeof userId === 'string' || Number.isSafeInteger(userId) ? writeScalar(userId) : undefined
    if (user === undefined) {
      return undefined
    }
    text += `,"u":"${user}"`
  }
  return text.length < MAX_LENGTH ? `${text}}` : undefined
}

function writeMembers(params: unknown): string | undefined {
  if (params === undefined || params === null) {
    return ''
  }
  if (typeof params !== 'object') {
    return undefined
  }
  try {
    const prototype = Object.getPrototypeOf(params)
    if ((prototype !== Object.prototype && prototype !== null) || Object.getOwnPropertySymbols(params).length > 0) {
      return undefined
    }
    const names = Object.keys(params)
    if (!isAscending(names)) {
      names.sort()
    }
    let text = ''
    for (const name of names) {
      const value = writeScalar((params as Record<string, unknown>)[name])
      if (value === undefined || text.length + name.length > MAX_LENGTH || !LITERAL.test(name)) {
        return undefined
      }
      text += text === '' ? `"${name}":"${value}"` : `,"${name}":"${value}"`
    }
    return text
  } catch {
    // A getter or a proxy threw: the native function reads again, and says where.
    return undefined
  }
}

/** The order of ASCII names is the same by UTF-16 unit as by code point; other names are not written here. */
function isAscending(names: string[]): boolean {
  for (let index = 1; index < names.length; index++) {
    if ((names[index - 1] as string) > (names[index] as string)) {
      return false
    }
  }
  return true
}

function writeScalar(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return value.length <= MAX_LENGTH && LITERAL.test(value) ? value : undefined
    case 'number':
      return Number.isSafeInteger(value) ? `${value}` : undefined
    case 'boolean':
      return value ? 'true' : 'false'
    default:
      return value === null ? 'null' : undefined
  }
}
