import { isScalar, type Scalar, scalarText } from './scalar.ts'

/** The header on every mutation response that invalidates (`protocol.md` §6). */
export const INVALIDATION_HEADER = 'X-Mizan-Invalidate'

/**
 * Names the entry that a context's response is: `user;user_id=5`, its parameters as the schema made them, whatever their
 * spelling in the request was. The Edge Worker cannot coerce; this tells it which purges an entry is covered by.
 */
export const ENTRY_HEADER = 'X-Mizan-Entry'

/** By this the Worker asks for it: the key that it derived, as a parameter of the address. No context declares it. */
export const KEY_PARAMETER = '_mizan_key'

/** What a mutation changed, as the response body says it: a whole context, or one entry of it. */
export type InvalidationTarget =
  | string
  | { readonly context: string; readonly params: Readonly<Record<string, Scalar>> }

/** What a reader of the header purges: one entry, or the whole context when `params` is null. */
export interface ParsedTarget {
  readonly context: string
  readonly params: Readonly<Record<string, string>> | null
}

/** Clients and proxies refuse long headers, and a purge that does not arrive serves stale data. */
const LONGEST_HEADER = 4096

const CONTEXT = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
const PARAMETER = /^[a-z][a-z0-9_]*$/

/**
 * Writes the header: `user;user_id=5, notifications`.
 *
 * Targets that together are longer than 4,096 characters are written as whole contexts: a broader purge, never a lost
 * one.
 */
export function formatInvalidation(targets: readonly InvalidationTarget[]): string {
  const exact = join(targets.map(formatTarget))
  return exact.length <= LONGEST_HEADER ? exact : join(targets.map(contextOf))
}

/** Writes {@link ENTRY_HEADER}; null for an entry that no invalidation header can name either. */
export function formatEntry(context: string, params: Readonly<Record<string, unknown>>): string | null {
  const scalars: Record<string, Scalar> = {}
  for (const [name, value] of Object.entries(params)) {
    if (!isScalar(value)) return null
    scalars[name] = value
  }
  try {
    const text = formatTarget({ context, params: scalars })
    return text.length <= LONGEST_HEADER ? text : null
  } catch {
    // A text that is not well-formed has no percent-encoding, as it has no key.
    return null
  }
}

/**
 * Reads the header. A target whose parameters cannot be read is its whole context; one whose context cannot be read is
 * left out, since no entry has such a context.
 */
export function parseInvalidation(header: string): ParsedTarget[] {
  return header.split(',').flatMap((text) => {
    const [context = '', ...assignments] = text.trim().split(';')
    return CONTEXT.test(context) ? [{ context, params: parseParams(assignments) }] : []
  })
}

function formatTarget(target: InvalidationTarget): string {
  if (typeof target === 'string') return target
  const assignments = Object.entries(target.params).map(
    ([name, value]) => `;${encode(name)}=${encode(scalarText(value))}`,
  )
  return target.context + assignments.join('')
}

function contextOf(target: InvalidationTarget): string {
  return typeof target === 'string' ? target : target.context
}

function join(texts: readonly string[]): string {
  return [...new Set(texts)].join(', ')
}

/** Percent-encodes everything but `A–Z a–z 0–9 - _ . ~`. `encodeURIComponent` alone leaves five more. */
function encode(text: string): string {
  if (/^[\w.~-]*$/.test(text)) return text
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

function parseParams(assignments: readonly string[]): Record<string, string> | null {
  if (assignments.length === 0) return null
  const params: Record<string, string> = {}
  for (const assignment of assignments) {
    const [name = '', value, ...rest] = assignment.split('=')
    const text = value === undefined || rest.length > 0 ? null : decode(value)
    if (text === null || !PARAMETER.test(name) || Object.hasOwn(params, name)) return null
    params[name] = text
  }
  return params
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}
