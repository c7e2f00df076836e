/** The key of protocol.md §1 as one writes it by hand in TypeScript: the measure that the addon is compared with. */

import { createHmac } from 'node:crypto'

export type ParamValue = string | number | bigint | boolean | null | ParamValue[] | { [name: string]: ParamValue }

const BEYOND_PRINTABLE_ASCII = /[\x7f-\uffff]/g

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}

function quote(text: string): string {
  return JSON.stringify(text).replace(BEYOND_PRINTABLE_ASCII, escapeUnit)
}

/** UTF-16 order, except that a surrogate (an astral character) comes after every other unit. */
function byCodePoint(left: string, right: string): number {
  const length = Math.min(left.length, right.length)
  for (let index = 0; index < length; index++) {
    const leftUnit = left.charCodeAt(index)
    const rightUnit = right.charCodeAt(index)
    if (leftUnit !== rightUnit) {
      const leftIsSurrogate = (leftUnit & 0xf800) === 0xd800
      const rightIsSurrogate = (rightUnit & 0xf800) === 0xd800
      return leftIsSurrogate === rightIsSurrogate ? leftUnit - rightUnit : leftIsSurrogate ? 1 : -1
    }
  }
  return left.length - right.length
}

/** JavaScript and Python agree on the digits; Python pads the exponent and uses one below 1e-4, JavaScript below 1e-6. */
function formatNumber(value: number): string {
  if (!Number.isFinite(value)) throw new TypeError('a number that is not finite')
  if (Number.isSafeInteger(value)) return String(value === 0 ? 0 : value)
  if (Number.isInteger(value)) throw new TypeError('an integral number beyond 2^53 - 1')
  if (Math.abs(value) >= 1e-4) return String(value)
  const [digits, exponent] = value.toExponential().split('e-') as [string, string]
  return `${digits}e-${exponent.padStart(2, '0')}`
}

function stringify(value: ParamValue): string {
  switch (typeof value) {
    case 'string':
      return quote(value)
    case 'number':
      return `"${formatNumber(value)}"`
    case 'bigint':
    case 'boolean':
      return `"${value}"`
    case 'object': {
      if (value === null) return '"null"'
      if (Array.isArray(value)) return `[${value.map(stringify).join(',')}]`
      const names = Object.keys(value).sort(byCodePoint)
      return `{${names.map((name) => `${quote(name)}:${stringify(value[name] as ParamValue)}`).join(',')}}`
    }
    default:
      throw new TypeError(`a ${typeof value} has no canonical form`)
  }
}

export function canonical(
  context: string,
  params: Record<string, ParamValue> = {},
  userId: string | number | bigint | null = null,
  rev = 0,
): string {
  const user = userId === null ? '' : `,"u":${stringify(userId)}`
  return `{"c":${quote(context)},"p":${stringify(params)},"r":${rev}${user}}`
}

export function deriveCacheKey(
  secret: string | Uint8Array,
  context: string,
  params?: Record<string, ParamValue>,
  userId?: string | number | bigint | null,
  rev?: number,
): string {
  const digest = createHmac('sha256', secret)
    .update(canonical(context, params, userId, rev))
    .digest('hex')
  return `ctx:${context}:${digest}`
}
