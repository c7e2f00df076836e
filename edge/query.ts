/** The parameters of a context request. */

/**
 * The declared parameters of a query string. Undeclared ones are not looked at.
 *
 * @returns null when one is given twice or the query is not percent-encoded UTF-8: what that means is the origin's affair
 */
export function declaredParams(search: string, declared: readonly string[]): Record<string, string> | null {
  const params: Record<string, string> = {}
  for (const pair of search.slice(1).split('&')) {
    const equals = pair.indexOf('=')
    const name = decode(equals < 0 ? pair : pair.slice(0, equals))
    const value = equals < 0 ? '' : decode(pair.slice(equals + 1))
    if (name === null || value === null) return null
    if (!declared.includes(name)) continue
    if (Object.hasOwn(params, name)) return null
    params[name] = value
  }
  return params
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return null
  }
}
