/** Purges of the CDN: in few calls, repeated until they succeed or are seen to fail. */

import { MAX_TAGS, type PurgeAccess, purgeByTag } from './cdn-purge.ts'

/** A purge that the CDN has not made: what it covers is served as it was until its TTL ends. */
export interface PurgeFailure {
  readonly tags: readonly string[]
  /** Why the last call failed, in words. */
  readonly reason: string
  readonly attempts: number
  /** Whether it is the repetition that failed, which removes what was being filled while the first was made. */
  readonly repetition: boolean
}

/** What a caller is told of the purges of its mutation. */
export type PurgeState = 'done' | 'pending' | 'failed'

/** What a purge needs of the request that makes it. */
export interface PurgeCaller {
  readonly access: PurgeAccess
  readonly waitUntil: (promise: Promise<unknown>) => void
  readonly onFailure: (failure: PurgeFailure) => unknown
}

interface Delivery {
  readonly purged: boolean
  readonly reason: string
  readonly attempts: number
}

interface Waiting {
  readonly tags: readonly string[]
  /** Gives it what another request's call came to, or the turn to make the next call. */
  readonly settle: (outcome: Delivery | 'turn') => void
}

/** A fill that began before the purge may end after it, and the CDN has no leases. */
const REPEAT_AFTER_MS = 2000
/** What a mutation waits for its purge. */
const ANSWER_AFTER_MS = 2000
/** The runtime ends background work 30 s after the response: both deliveries and the pause fit in. */
const DELIVERY_MS = 10_000
const FIRST_BACKOFF_MS = 200

/**
 * The purges of one isolate. One call is under way at a time; what comes meanwhile is collected for the next, so that
 * the number of calls follows from how fast the API answers and not from how many mutations there are.
 *
 * No request depends on another's staying alive: the runtime may end one at any time. Each makes its own call when its
 * turn comes, or when its turn has not come in time.
 */
export class PurgeQueue {
  #calling = false
  #waiting: Waiting[] = []
  readonly #pending = new Map<string, number>()

  /** Whether a purge of one of the tags is not done yet, so that what the CDN has for it must not be used. */
  isPending(tags: readonly string[]): boolean {
    return tags.some((tag) => this.#pending.has(tag))
  }

  /** Purges now and again after 2 s. Resolves when the first purge is done, or after 2 s. */
  async purge(tags: readonly string[], caller: PurgeCaller): Promise<PurgeState> {
    const first = this.#first(tags, caller)
    caller.waitUntil(
      first.then(async () => {
        await pause(REPEAT_AFTER_MS)
        await this.#deliverAll(tags, caller, true)
      }),
    )
    return Promise.race([
      first.then((purged): PurgeState => (purged ? 'done' : 'failed')),
      pause(ANSWER_AFTER_MS).then((): PurgeState => 'pending'),
    ])
  }

  async #first(tags: readonly string[], caller: PurgeCaller): Promise<boolean> {
    for (const tag of tags) this.#pending.set(tag, (this.#pending.get(tag) ?? 0) + 1)
    try {
      return await this.#deliverAll(tags, caller, false)
    } finally {
      for (const tag of tags) {
        const others = (this.#pending.get(tag) ?? 1) - 1
        if (others === 0) this.#pending.delete(tag)
        else this.#pending.set(tag, others)
      }
    }
  }

  async #deliverAll(tags: readonly string[], caller: PurgeCaller, repetition: boolean): Promise<boolean> {
    const batches: string[][] = []
    for (let start = 0; start < tags.length; start += MAX_TAGS) batches.push(tags.slice(start, start + MAX_TAGS))
    const until = Date.now() + DELIVERY_MS
    const deliveries = await Promise.all(batches.map((batch) => this.#deliver(batch, caller.access, until)))
    for (const [index, { purged, reason, attempts }] of deliveries.entries()) {
      if (!purged) await caller.onFailure({ tags: batches[index] ?? [], reason, attempts, repetition })
    }
    return deliveries.every(({ purged }) => purged)
  }

  /** Delivers at most 100 tags, in a call of its own or in another request's. */
  async #deliver(tags: readonly string[], access: PurgeAccess, until: number): Promise<Delivery> {
    if (this.#calling) {
      const outcome = await this.#wait(tags, until)
      if (outcome !== 'turn') return outcome
    }
    this.#calling = true
    const joined = this.#takeWaiting(MAX_TAGS - tags.length)
    const all = [...new Set([...tags, ...joined.flatMap((waiting) => waiting.tags)])]
    const delivery = await callUntil(access, all, until)
    for (const waiting of joined) waiting.settle(delivery)
    const next = this.#waiting.shift()
    if (next === undefined) this.#calling = false
    else next.settle('turn')
    return delivery
  }

  /** Waits for the turn; takes it when most of the time is over. */
  #wait(tags: readonly string[], until: number): Promise<Delivery | 'turn'> {
    return new Promise((resolve) => {
      const waiting = { tags, settle: resolve }
      this.#waiting.push(waiting)
      setTimeout(
        () => {
          this.#waiting = this.#waiting.filter((other) => other !== waiting)
          resolve('turn')
        },
        (until - Date.now()) / 2,
      )
    })
  }

  #takeWaiting(room: number): Waiting[] {
    const taken: Waiting[] = []
    this.#waiting = this.#waiting.filter((waiting) => {
      if (waiting.tags.length > room) return true
      room -= waiting.tags.length
      taken.push(waiting)
      return false
    })
    return taken
  }
}

/** Calls until it succeeds, cannot succeed, or there is no time left. */
async function callUntil(access: PurgeAccess, tags: readonly string[], until: number): Promise<Delivery> {
  for (let attempts = 1, backoff = FIRST_BACKOFF_MS; ; attempts++, backoff *= 2) {
    const answer = await purgeByTag(access, tags)
    if (answer.purged) return { purged: true, reason: '', attempts }
    // Half of the wait is left to chance, so that isolates which failed together do not call together again.
    const wait = Math.max(answer.waitMs, backoff / 2 + (Math.random() * backoff) / 2)
    if (!answer.passing || Date.now() + wait > until) return { purged: false, reason: answer.reason, attempts }
    await pause(wait)
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
