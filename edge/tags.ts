/** The tags that entries carry at the CDN, and those that a mutation purges. */

import { parseInvalidation } from '../origin/invalidation-header.ts'
import type { Exchange } from './exchange.ts'
import { signKey } from './key.ts'
import type { Route } from './manifest.ts'

type Target = ReturnType<typeof parseInvalidation>[number]

/** The tag of all entries of a context. */
export function contextTag(context: string): string {
  return `ctx:${context}`
}

/**
 * What an invalidation header purges: the key of an entry where that is certain to cover all that is meant, else its
 * context.
 */
export async function tagsToPurge(exchange: Exchange, header: string): Promise<string[]> {
  const targets = parseInvalidation(header)
  const tags = new Set<string>()
  for (const target of targets) tags.add((await entryTag(exchange, target)) ?? contextTag(target.context))
  return [...tags]
}

/**
 * The header does not tell whose entry it is, so one that belongs to a user has no key. And unless responses are known by
 * the entry they are, there may be others of the same meaning under other spellings.
 */
async function entryTag({ routes, signer }: Exchange, { context, params }: Target): Promise<string | null> {
  const route = routes.named(context)
  if (route === undefined || route.userScoped || params === null || !routes.namesEntries) return null
  if (!givesAll(route, params)) return null
  try {
    return await signKey(signer, context, { ...params }, null, route.rev)
  } catch {
    return null
  }
}

function givesAll(route: Route, params: Readonly<Record<string, string>>): boolean {
  const names = Object.keys(params)
  return names.length === route.params.length && names.every((name) => route.params.includes(name))
}
