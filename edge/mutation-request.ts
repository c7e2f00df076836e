/** Everything that is not read from the cache: passed through, and what it invalidates is purged. */

import { INVALIDATION_HEADER } from '../origin/invalidation-header.ts'
import { type Exchange, isMizan } from './exchange.ts'
import { passThrough } from './origin-fetch.ts'
import { contextTag, tagsToPurge } from './tags.ts'

/** Tells the caller what became of the purges of its mutation: `done`, `pending` or `failed`. */
export const PURGE_HEADER = 'X-Mizan-Purge'

/** What a proxy answers when it cannot know whether the origin has acted. */
const isUnknownOutcome = (status: number) => status === 502 || status === 504 || status >= 520

/**
 * Answers after the purge, as the origin does: commit, purge, answer.
 *
 * A mutation whose outcome cannot be known may have changed whatever mutations change.
 */
export async function answerMutation(exchange: Exchange): Promise<Response> {
  const mayMutate = isMizan(exchange) && !['GET', 'HEAD', 'OPTIONS'].includes(exchange.request.method)
  let response: Response
  try {
    response = await passThrough(exchange)
  } catch (error) {
    if (mayMutate) await purge(exchange, exchange.routes.affected.map(contextTag))
    throw error
  }
  const header = response.headers.get(INVALIDATION_HEADER)
  const tags =
    header !== null
      ? await tagsToPurge(exchange, header)
      : mayMutate && isUnknownOutcome(response.status)
        ? exchange.routes.affected.map(contextTag)
        : []
  const state = await purge(exchange, tags)
  if (state === null) return response
  const told = new Response(response.body, response)
  told.headers.set(PURGE_HEADER, state)
  return told
}

async function purge({ purges }: Exchange, tags: readonly string[]): Promise<string | null> {
  return purges === null || tags.length === 0 ? null : purges.queue.purge(tags, purges.caller)
}
