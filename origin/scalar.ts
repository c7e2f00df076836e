/** A value that a query parameter can carry. */
export type Scalar = string | number | bigint | boolean

/** Whether a value is one that a query parameter can carry. */
export function isScalar(value: unknown): value is Scalar {
  return (
    typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean'
  )
}

/**
 * The text of a scalar in the canonical form (`protocol.md` §1.4), where a small number has Python's layout: `1e-05`.
 *
 * It is what the invalidation header carries, so that whoever reads it derives the key of the value itself.
 */
export function scalarText(value: Scalar): string {
  if (typeof value !== 'number' || value === 0 || Math.abs(value) >= 1e-4) return String(value)
  return value.toExponential().replace(/-(\d)$/, '-0$1')
}
