/**
 * The calls of one cache in one thread.
 *
 * In memory they are answered at once. On Redis they are gathered, and sent in the check phase of the event loop, which
 * runs once after all that one poll brought: what arrives together goes together.
 */

import type { Lookup } from './cache.ts'
import { codedError } from './errors.ts'
import { LocalTexts } from './local-texts.ts'
import type { Answer, CacheOperations, FoundLookup } from './native.ts'
import { PendingCalls } from './pending-calls.ts'
import { afterPoll, now, startTimer, stopTimer } from './scheduling.ts'
import { type SocketOptions, Sockets } from './sockets.ts'

/** What is sent together; while it is on its way the next are written down. */
const MOST_TOGETHER = 256
/** Milliseconds after which a flush that is due is not waited for any more: whoever was to bring it may be gone. */
const OVERDUE = 50
/** Of many calls that wait every so many-th looks at the time, which costs as much as a call of the addon. */
const LOOKS_EVERY = 16

/** Lets the connections of a cache go that nobody holds any more. */
const collected = new FinalizationRegistry<Sockets>((sockets) => sockets.abandon())

export class Calls {
  readonly operations: CacheOperations
  readonly texts: LocalTexts
  readonly #pending = new PendingCalls()
  /** None in memory. */
  readonly #sockets?: Sockets
  readonly #joinsReads: boolean
  /** Reads that the addon was not told yet, as lines, and the number of the first. */
  #lines = ''
  #firstNumber = 0
  #lineCount = 0
  #gathered = 0
  #dueSince = 0
  /** Flushes what an immediate that was lost should have. */
  #overdue: ReturnType<typeof startTimer> | undefined

  constructor(operations: CacheOperations, options: SocketOptions) {
    this.operations = operations
    this.texts = new LocalTexts(operations)
    this.#joinsReads = operations.isRemote && !operations.hasCopies
    if (operations.isRemote) {
      this.#sockets = new Sockets(operations, this.#pending, options)
      collected.register(this, this.#sockets)
    }
  }

  get(canonical: string): Promise<string | null> {
    if (this.#joinsReads) {
      return this.#join('t', canonical)
    }
    const number = this.#pending.next()
    const found = this.operations.get(canonical, number)
    if (found === undefined) {
      return this.#expect(number)
    }
    return isRejection(found) ? Promise.resolve(found) : attempt(() => this.texts.textOf(found))
  }

  getBytes(canonical: string): Promise<Uint8Array | null> {
    return this.#joinsReads
      ? this.#join('b', canonical)
      : this.#call((number) => this.operations.getBytes(canonical, number))
  }

  lookup(canonical: string): Promise<Lookup> {
    if (this.#joinsReads) {
      return this.#join('l', canonical)
    }
    const number = this.#pending.next()
    const found = this.operations.lookup(canonical, number)
    if (found === undefined) {
      return this.#expect(number)
    }
    return isRejection(found) ? Promise.resolve(found) : attempt(() => this.#toLookup(found))
  }

  put(canonical: string, value: unknown, ttl: unknown, lease: unknown): Promise<boolean> {
    return this.#call((number) => this.operations.put(canonical, value, ttl, lease, number))
  }

  release(canonical: string, lease: unknown): Promise<boolean> {
    return this.#call((number) => this.operations.release(canonical, lease, number))
  }

  purgeEntry(canonical: string): Promise<number> {
    return this.#call((number) => this.operations.purgeEntry(canonical, number))
  }

  purgeContext(context: unknown): Promise<number> {
    return this.#call((number) => this.operations.purgeContext(context, number))
  }

  clear(): Promise<number> {
    return this.#call((number) => this.operations.clear(number))
  }

  async close(): Promise<void> {
    this.#flush()
    this.operations.markClosed()
    if (this.#sockets !== undefined) {
      const number = this.#pending.next()
      const closed = this.#settled<null>(number)
      this.#sockets.close(number)
      this.#sockets.hold()
      await closed
      stopTimer(this.#overdue)
      this.#overdue = undefined
      this.#sockets.rest()
    }
  }

  /** Takes what later connections are made with. */
  connectBy(options: SocketOptions): void {
    this.#sockets?.connectBy(options)
  }

  /** A call that the addon answers at once, or takes under a number. */
  #call<T>(take: (number: number) => Answer<T>): Promise<T> {
    this.#tellReads()
    const number = this.#pending.next()
    const answer = take(number)
    return answer === undefined ? this.#expect(number) : Promise.resolve(answer)
  }

  /** A read on Redis, whose line crosses into the addon with others. */
  #join<T>(kind: 't' | 'b' | 'l', canonical: string): Promise<T> {
    const number = this.#pending.next()
    if (this.#lineCount > 0 && number !== this.#firstNumber + this.#lineCount) {
      this.#tellReads()
    }
    if (this.#lineCount === 0) {
      this.#firstNumber = number
    }
    this.#lines += `${kind}${canonical}\n`
    this.#lineCount += 1
    return this.#expect(number)
  }

  /** Tells the addon of reads before any other call, so that the order of the calls holds. */
  #tellReads(): void {
    if (this.#lineCount > 0) {
      const [lines, count] = [this.#lines, this.#lineCount]
      this.#lines = ''
      this.#lineCount = 0
      try {
        if (!this.operations.reads(lines, this.#firstNumber)) {
          this.#pending.reject(this.#firstNumber, count, codedError('ERR_MIZAN_CLOSED', 'the cache was closed'))
        }
      } catch (error) {
        this.#pending.reject(this.#firstNumber, count, error)
      }
    }
  }

  #expect<T>(number: number): Promise<T> {
    const answer = this.#settled<T>(number)
    this.#gathered += 1
    if (this.#gathered === 1) {
      this.#dueSince = now()
      afterPoll(() => this.#flush())
      this.#expectFlush()
      this.#sockets?.hold()
    } else if (this.#gathered === MOST_TOGETHER || (this.#looksAtTime() && now() - this.#dueSince > OVERDUE)) {
      this.#flush()
    }
    return answer
  }

  /** Sees to a flush by a timer too, which most often is put off before it is due. */
  #expectFlush(): void {
    if (this.#overdue === undefined) {
      this.#overdue = startTimer(() => this.#flush(), OVERDUE)
      this.#overdue.unref()
    } else {
      this.#overdue.refresh()
    }
  }

  #looksAtTime(): boolean {
    return this.#gathered === 2 || this.#gathered % LOOKS_EVERY === 0
  }

  #settled<T>(number: number): Promise<T> {
    return new Promise((resolve) => {
      this.#pending.add(number, resolve)
    })
  }

  #flush(): void {
    if (this.#gathered === 0) {
      return
    }
    this.#gathered = 0
    this.#tellReads()
    this.#sockets?.flush()
  }

  #toLookup(found: FoundLookup): Lookup {
    if (Array.isArray(found)) {
      const [lease, held] = found
      return { value: null, lease, held }
    }
    return { value: this.texts.textOf(found), lease: null, held: null }
  }
}

/** The promise of what is there, or of what is wrong with it. */
function attempt<T>(find: () => T): Promise<T> {
  try {
    return Promise.resolve(find())
  } catch (error) {
    // A value that is no text.
    return Promise.reject(error)
  }
}

/**
 * Whether the addon answered with a rejected promise. That is one of its own realm, and no instance of the `Promise` of a
 * realm in which this module was evaluated (Jest, `node:vm`).
 */
function isRejection(found: unknown): found is Promise<never> {
  return typeof found === 'object' && found !== null && !Array.isArray(found)
}
