import { deterministicJson } from './bundle.ts'
import { HttpError } from './http-errors.ts'

/** A response before it is given to a server. */
export interface Answer {
  readonly status: number
  /** The answer's own: whoever sends it may add to them. */
  readonly headers: Record<string, string>
  /** JSON text, or empty for no body. */
  readonly body: string
}

/**
 * The one place where responses are made: whatever they say, nobody who does not speak Mizan may keep them
 * (`protocol.md` §6). The headers given become the answer's own.
 */
export function answer(status: number, body: string, headers: Record<string, string> = {}): Answer {
  if (body !== '') headers['Content-Type'] = 'application/json'
  headers['Cache-Control'] = 'no-store'
  return { status, headers, body }
}

/** The answer to a call that failed. Only an `HttpError` speaks to the client. */
export function failure(error: unknown, headers: Record<string, string> = {}): Answer {
  const { status, code, message, details } = error instanceof HttpError ? error : INTERNAL
  return answer(status, errorBody(code, message, details), headers)
}

/** The body of an error (`protocol.md` §6). */
export function errorBody(code: string, message: string, details: unknown = null): string {
  return deterministicJson({ error: { code, message, details } })
}

const INTERNAL = {
  status: 500,
  code: 'internal_error',
  message: 'The server failed to answer this call.',
  details: null,
}
