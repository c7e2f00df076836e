import { compareCodePoints } from './code-points.ts'

/**
 * JSON without white space whose keys stand in code point order at every depth, so that equal data are equal bytes in
 * whatever order it was built (`protocol.md` §6).
 *
 * Everything else is as `JSON.stringify` does it: `toJSON` is asked, `undefined` members are left out, a number that
 * JSON cannot write is `null`, a bigint is an error. A value that is itself `undefined` becomes `null`.
 */
export function deterministicJson(value: unknown): string {
  return write('', value) ?? 'null'
}

function write(key: string, value: unknown): string | undefined {
  const plain = hasToJson(value) ? value.toJSON(key) : value
  if (typeof plain !== 'object' || plain === null || isBoxed(plain)) return JSON.stringify(plain)
  return Array.isArray(plain) ? writeArray(plain) : writeObject(plain)
}

function writeArray(items: readonly unknown[]): string {
  let text = '['
  for (let index = 0; index < items.length; index++) {
    if (index > 0) text += ','
    text += write(String(index), items[index]) ?? 'null'
  }
  return `${text}]`
}

function writeObject(object: object): string {
  const members = object as Record<string, unknown>
  let text = '{'
  for (const key of Object.keys(members).sort(compareCodePoints)) {
    const member = write(key, members[key])
    if (member === undefined) continue
    if (text.length > 1) text += ','
    text += `${JSON.stringify(key)}:${member}`
  }
  return `${text}}`
}

function hasToJson(value: unknown): value is { toJSON(key: string): unknown } {
  return (
    ((typeof value === 'object' && value !== null) || typeof value === 'bigint') &&
    typeof (value as { toJSON?: unknown }).toJSON === 'function'
  )
}

function isBoxed(value: object): boolean {
  return value instanceof Number || value instanceof String || value instanceof Boolean
}
