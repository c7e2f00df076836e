import type { UserId } from './origin-cache.ts'

const SMALLEST = -(2n ** 63n)
const LARGEST = 2n ** 64n - 1n

/**
 * Whether a value names a user in a key (`protocol.md` §1.8).
 *
 * Absent, empty or inexact ids are refused here, before a key is derived: a key without a user is the entry of
 * everybody.
 */
export function isUserId(value: unknown): value is UserId {
  switch (typeof value) {
    case 'string':
      return value !== '' && encodesAsUtf8(value)
    case 'number':
      return Number.isSafeInteger(value)
    case 'bigint':
      return value >= SMALLEST && value <= LARGEST
    default:
      return false
  }
}

function encodesAsUtf8(text: string): boolean {
  try {
    encodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
