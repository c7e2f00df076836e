/** Where a value stands in a call, for an error's message: `params.user.id`, `params.items[3]`, `params["a b"]`. */

import { codedError } from './errors.ts'
import { escapeText } from './text.ts'

/** A step and the one before it; nothing is written until there is an error. */
export interface Path {
  readonly parent: Path | null
  readonly step: string | number
}

const IDENTIFIER = /^[A-Za-z_$][A-Za-z0-9_$]*$/
/** The longest name that is shown in full, in characters. */
const MAX_NAME_LENGTH = 64

export function rootPath(step: string): Path {
  return { parent: null, step }
}

/** An error about the value that stands here. The reason must not hold the value. */
export function errorAt(path: Path, code: string, reason: string): Error {
  return codedError(code, `${pathText(path)}: ${reason}`)
}

function pathText({ parent, step }: Path): string {
  if (parent === null) return String(step)
  return pathText(parent) + (typeof step === 'number' ? `[${step}]` : memberText(step))
}

function memberText(name: string): string {
  if (IDENTIFIER.test(name) && name.length <= MAX_NAME_LENGTH) return `.${name}`
  // Two UTF-16 units a character at most.
  const characters = [...name.slice(0, 2 * MAX_NAME_LENGTH + 2)]
  const shown = escapeText(characters.slice(0, MAX_NAME_LENGTH).join(''))
  return `["${shown}${characters.length > MAX_NAME_LENGTH ? '...' : ''}"]`
}
