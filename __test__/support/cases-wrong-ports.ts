/** A port of the canonical form whose rules can be got wrong, one at a time, to show that the comparison notices. */

import { createHmac } from 'node:crypto'

export interface Rules {
  order: (left: string, right: string) => number
  escaped: RegExp
  number: (value: number) => string
}

export const rules: Rules = {
  order: (left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)),
  escaped: /[\x7f-\uffff]/g,
  number: (value) => {
    if (Number.isInteger(value) || Math.abs(value) >= 1e-4) return String(value + 0)
    return value.toExponential().replace(/e-(\d)$/, 'e-0$1')
  },
}

export function portBy({ order, escaped, number }: Rules) {
  const quote = (text: string) =>
    JSON.stringify(text).replace(escaped, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

  function write(value: unknown): string {
    if (Array.isArray(value)) return `[${value.map(write).join(',')}]`
    if (typeof value === 'object' && value !== null) {
      const members = Object.entries(value).sort(([left], [right]) => order(left, right))
      return `{${members.map(([name, member]) => `${quote(name)}:${write(member)}`).join(',')}}`
    }
    return quote(typeof value === 'number' ? number(value) : String(value))
  }

  return (secret: string | Uint8Array, context: string, params: unknown, userId: unknown, rev: number = 0): string => {
    const user = userId === undefined || userId === null ? '' : `,"u":${write(userId)}`
    const canonical = `{"c":${quote(context)},"p":${write(params ?? {})},"r":${rev}${user}}`
    return `ctx:${context}:${createHmac('sha256', secret).update(canonical).digest('hex')}`
  }
}
