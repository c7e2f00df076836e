import { BareObject } from '../common/bare-object.ts'
import { HttpError } from './http-errors.ts'
import { andThen, type MaybePromise } from './maybe-promise.ts'
import type { Params } from './origin-cache.ts'
import type { ObjectSchema } from './standard-schema.ts'
import { validated } from './standard-schema.ts'

/** The parameters that a context declares. */
export interface Parameters {
  /** The context's name, for messages. */
  readonly context: string
  /** Null when the context has none. */
  readonly schema: ObjectSchema | null
  readonly names: readonly string[]
}

/**
 * The parameters of a request, from its query string.
 *
 * Only declared ones are looked at: what a stranger adds to an address must not make an entry of its own. The schema
 * coerces them before they reach the key, so that `05` and `5` are one entry.
 */
export function readParameters(parameters: Parameters, query: string): MaybePromise<Params> {
  if (parameters.schema === null) return {}
  const given = parseQuery(query, parameters.names)
  return andThen(validated(parameters.schema, given, 'invalid_params'), (output) => declared(parameters, output))
}

/**
 * The members of a schema's output, which are both what the functions are given and what the key is made of: no
 * function can read a parameter that is not in its key.
 */
export function declared(parameters: Parameters, output: Readonly<Record<string, unknown>>): Params {
  const params: Record<string, unknown> = {}
  for (const name of Object.keys(output)) {
    if (!parameters.names.includes(name)) {
      throw new TypeError(
        `context ${parameters.context}: its schema made ${JSON.stringify(name)}, which it does not declare`,
      )
    }
    if (output[name] !== undefined) params[name] = output[name]
  }
  // The cache itself refuses what cannot be in a key.
  return params as Params
}

function parseQuery(query: string, names: readonly string[]): Record<string, string> {
  // Without a prototype: to a schema a parameter that is not given must not seem to be, as `constructor` would.
  const given = new BareObject() as Record<string, string>
  for (let start = 0, end = 0; start < query.length; start = end + 1) {
    let equals = -1
    for (end = start; end < query.length; end++) {
      const character = query.charCodeAt(end)
      if (character === AMPERSAND) break
      if (character === EQUALS_SIGN && equals < 0) equals = end
    }
    if (equals < 0) equals = end
    const text = decode(query.slice(start, equals))
    const name = declaredName(names, text)
    if (name === undefined) continue
    if (given[name] !== undefined) {
      throw new HttpError(400, 'duplicate_parameter', `The parameter ${name} is given more than once.`)
    }
    given[name] = decode(query.slice(equals + 1, end))
  }
  return given
}

/** The declared one of two equal texts: as the name of a member V8 has it at hand. */
function declaredName(names: readonly string[], text: string): string | undefined {
  for (const name of names) {
    if (name === text) return name
  }
  return undefined
}

const AMPERSAND = 0x26
const EQUALS_SIGN = 0x3d

function decode(text: string): string {
  const spaced = text.includes('+') ? text.replaceAll('+', ' ') : text
  if (!spaced.includes('%')) return spaced
  try {
    return decodeURIComponent(spaced)
  } catch {
    throw new HttpError(400, 'malformed_query', 'The query string is not percent-encoded UTF-8.')
  }
}
