import { deterministicJson } from './bundle.ts'
import { HttpError } from './http-errors.ts'

/** A response before it is given to a server. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** JSON text, or empty for no body. */
  readonly body: string
}

/**
 * The one place where responses are made: whatever they say, nobody who does not speak Mizan may keep them
 * (`protocol.md` §6).
 */
export function answer(status: number, body: string, headers: Readonly<Record<string, string>> = {}): Answer {
  const type = body === '' ? {} : { 'Content-Type': 'application/json' }
  return { status, headers: { ...headers, ...type, 'Cache-Control': 'no-store' }, body }
}

/** The answer to a call that failed. Only an `HttpError` speaks to the client. */
export function failure(error: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
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
