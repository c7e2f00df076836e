/**
 * What caches tell of themselves: messages on `diagnostics_channel`, and entries for a log. None holds a secret, a key,
 * a parameter, a user id, a value or an address.
 */

import { type Channel, channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Lookup } from './cache.ts'
import { codedError } from './errors.ts'

/** How a call ended. */
interface EndMessage {
  /** The context of the call; `null` for `clear`. */
  context: string | null
  /** Milliseconds from the call to its answer. */
  duration: number
  /** The code of the error that the call was rejected with, if it was. */
  code?: string
}

/** A message of `mizan:cache:get`: a read ended. A `peek` that finds nothing is none, as in {@link CacheStats}. */
export interface GetMessage extends EndMessage {
  operation: 'get' | 'getBytes' | 'lookup' | 'peek'
  outcome: 'hit' | 'miss' | 'error'
}

/** A message of `mizan:cache:put`: a value was stored or not. */
export interface PutMessage extends EndMessage {
  operation: 'put'
  outcome: 'stored' | 'refused' | 'error'
}

/** A message of `mizan:cache:purge`: a purge ended. */
export interface PurgeMessage extends EndMessage {
  operation: 'purge' | 'clear'
  outcome: 'purged' | 'error'
  /** What it was to delete. */
  scope: 'entry' | 'context' | 'everything'
  /** How many entries went. */
  entries: number
}

/** Why calls failed on Redis. */
export type FailureReason = 'timeout' | 'refused' | 'broken' | 'overload' | 'breaks connections'

/** Why a connection could not be made. */
export type ConnectionFailure =
  | 'timeout'
  | 'refused'
  | 'broken'
  | 'certificate'
  | 'credentials'
  | 'permission'
  | 'protocol'

/** A message of `mizan:cache:error`: calls failed on Redis, one or several that ended together. */
export interface ErrorMessage {
  operation: 'read' | 'write' | 'purge'
  /**
   * No answer in time; an error as the answer; a connection that broke; more calls in flight than `maxInFlight`; or a call
   * that is not sent for a minute, because twice its connection broke while it was answered: its value may be over a limit
   * of the server.
   */
  reason: FailureReason
  /** How many. */
  calls: number
}

/** A message of `mizan:cache:circuit`: it changed. */
export interface CircuitMessage {
  /** As in {@link CacheStats}. */
  state: 'connecting' | 'closed' | 'open'
}

/** A message of `mizan:cache:connection`. */
export interface ConnectionMessage {
  /**
   * `failed`: it could not be made, told again only for another reason. `closed`: by `close`. `fence refused`: the user may
   * not end old connections (`CLIENT KILL`), so a write that was given up may still be executed after a later purge; told
   * once.
   */
  state: 'made' | 'lost' | 'failed' | 'closed' | 'fence refused'
  /** Of `failed`. */
  reason?: ConnectionFailure
}

/** A message of `mizan:cache:pending-purges`. */
export interface PendingPurgesMessage {
  /**
   * `refused`: Redis refused a purge, which is tried again by itself, after pauses of 100 ms to 30 s. `lost`: the cache was
   * closed before Redis had them.
   */
  state: 'pending' | 'delivered' | 'refused' | 'lost'
  /** How many. */
  purges: number
  /** Of `refused`: what it was to delete. */
  scope?: 'entry' | 'context' | 'everything'
  /** Of `refused`: its context; `null` for everything. */
  context?: string | null
}

/** What is worth a line in a log: fields of the message of the same name, with a level and a sentence. */
export type LogEntry = { level: 'info' | 'warn' | 'error'; message: string } & (
  | ({ event: 'connection' } & ConnectionMessage)
  | ({ event: 'circuit' } & CircuitMessage)
  | ({ event: 'error' } & ErrorMessage)
  | ({ event: 'pending-purges' } & PendingPurgesMessage)
)

/** What the core tells, by the last part of its channel's name. */
export type CoreEvent =
  | ['connection', ConnectionMessage]
  | ['circuit', CircuitMessage]
  | ['error', ErrorMessage]
  | ['pending-purges', PendingPurgesMessage]

const LOG = 'mizan:cache:log'

/** Held here: Node forgets a channel that nobody holds. */
export const gets: Channel = channel('mizan:cache:get')
export const puts: Channel = channel('mizan:cache:put')
export const purges: Channel = channel('mizan:cache:purge')
const channels: Record<CoreEvent[0], Channel> = {
  connection: channel('mizan:cache:connection'),
  circuit: channel('mizan:cache:circuit'),
  error: channel('mizan:cache:error'),
  'pending-purges': channel('mizan:cache:pending-purges'),
}
const log = channel(LOG)

interface Call {
  operation: string
  context: string | null
  scope?: string
}

/** Makes a call, and publishes how it ends before its caller knows. */
export function publishEnd<T>(
  calls: Channel,
  call: Call,
  begin: () => Promise<T>,
  describe: (answer: T) => { outcome: string; entries?: number },
): Promise<T> {
  const began = performance.now()
  const publish = (end: object) => calls.publish({ ...call, ...end, duration: performance.now() - began })
  return begin().then(
    (value) => {
      publish(describe(value))
      return value
    },
    (error) => {
      publish({ outcome: 'error', code: error.code })
      throw error
    },
  )
}

/** Reads, and publishes what came of it. */
export function publishRead<T extends string | Uint8Array | Lookup | null>(
  read: () => Promise<T>,
  operation: string,
  context: string,
): Promise<T> {
  const isMiss = (answer: T) =>
    answer === null || (typeof answer === 'object' && 'value' in answer && answer.value === null)
  return publishEnd(gets, { operation, context }, read, (answer) => ({ outcome: isMiss(answer) ? 'miss' : 'hit' }))
}

/** Peeks, and publishes a hit. */
export function publishPeek(peek: () => string | null, context: string): string | null {
  const began = performance.now()
  const value = peek()
  if (value !== null) {
    gets.publish({ operation: 'peek', context, outcome: 'hit', duration: performance.now() - began })
  }
  return value
}

/** Publishes what the core tells. */
export function report(name: CoreEvent[0], message: CoreEvent[1]): void {
  channels[name].publish(message)
  const entry = log.hasSubscribers ? logEntry([name, message] as CoreEvent) : undefined
  if (entry !== undefined) {
    log.publish(entry)
  }
}

/**
 * Calls a function with each {@link LogEntry} of all caches that this thread opened. What it throws is dropped.
 *
 * @returns A function that ends it.
 * @throws `ERR_MIZAN_OPTION` if it is no function.
 */
export function onLog(listener: (entry: LogEntry) => void): () => void {
  if (typeof listener !== 'function') {
    throw codedError('ERR_MIZAN_OPTION', 'listener must be a function')
  }
  // An async function throws by its promise.
  const receive = (entry: unknown) => {
    new Promise((resolve) => resolve(listener(entry as LogEntry))).catch(() => {})
  }
  // By a channel, and so shared by all copies of this module in a thread: as ES module, as CommonJS.
  subscribe(LOG, receive)
  return () => {
    unsubscribe(LOG, receive)
  }
}

const CONNECTION = {
  made: ['info', 'connected to Redis'],
  lost: ['warn', 'lost the connection to Redis'],
  failed: ['warn', 'cannot connect to Redis'],
  closed: ['info', 'closed the connection to Redis'],
  'fence refused': ['warn', 'Redis does not let this user end old connections (CLIENT KILL)'],
} as const

const CIRCUIT = {
  connecting: ['info', 'calls wait for the first connection to Redis'],
  closed: ['info', 'calls go to Redis'],
  open: ['warn', 'calls return at once until Redis is connected again'],
} as const

const PENDING_PURGES = {
  pending: ['warn', 'purges are pending until Redis can be had'],
  delivered: ['info', 'Redis took purges that were pending'],
  refused: ['warn', 'Redis refuses a purge, which is tried again'],
  lost: ['error', 'the cache was closed with purges that Redis does not have'],
} as const

/** Failures of one sort are logged once in so many milliseconds, with how many there were since. */
const FAILURES_EVERY = 1_000
const unlogged = new Map<string, { calls: number; loggedAt: number }>()

function logEntry([event, message]: CoreEvent): LogEntry | undefined {
  switch (event) {
    case 'connection': {
      const [level, text] = CONNECTION[message.state]
      return { level, event, message: text, ...message }
    }
    case 'circuit': {
      const [level, text] = CIRCUIT[message.state]
      return { level, event, message: text, ...message }
    }
    case 'pending-purges': {
      const [level, text] = PENDING_PURGES[message.state]
      return { level, event, message: text, ...message }
    }
    case 'error': {
      const calls = failuresToLog(message)
      return calls === 0 ? undefined : { level: 'warn', event, message: 'calls on Redis failed', ...message, calls }
    }
  }
}

function failuresToLog({ operation, reason, calls }: ErrorMessage): number {
  const sort = `${operation} ${reason}`
  const last = unlogged.get(sort) ?? { calls: 0, loggedAt: Number.NEGATIVE_INFINITY }
  const now = performance.now()
  const all = last.calls + calls
  const isDue = now - last.loggedAt >= FAILURES_EVERY
  unlogged.set(sort, isDue ? { calls: 0, loggedAt: now } : { ...last, calls: all })
  return isDue ? all : 0
}
