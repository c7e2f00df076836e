/**
 * Reads, which go to Redis together where several are issued in one turn of the event loop: they cross into the addon
 * once, and are one command and one answer. A read that nothing else is under way beside is sent at once. Large values
 * are read by commands of their own, after the others: what is answered together is answered when all of it is there.
 */

import { isIdle, run } from './completions.ts'
import { LargeEntries } from './large-entries.ts'
import type { Answer, CacheOperations, LookupAnswer } from './native.ts'

/** The kinds of reads of one cache. */
export interface Reads {
  text: ReadsOfKind<string | null>
  bytes: ReadsOfKind<Uint8Array | null>
  lookup: ReadsOfKind<LookupAnswer>
}

export function readsOf(operations: CacheOperations): Reads {
  const { answersAtOnce, hasCopies, get, getBytes, lookup, getMany, getBytesMany, lookupMany } = operations
  const [peek, peekBytes] = hasCopies ? [operations.peek, operations.peekBytes] : []
  const large = new LargeEntries()
  return {
    text: new ReadsOfKind(answersAtOnce, large, get, getMany, peek),
    bytes: new ReadsOfKind(answersAtOnce, large, getBytes, getBytesMany, peekBytes),
    lookup: new ReadsOfKind<LookupAnswer>(answersAtOnce, large, lookup, lookupMany, peek),
  }
}

type ReadOne<T> = (canonical: string, number: number) => Answer<T>
type ReadMany<T> = (canonicals: string, number: number) => Answer<(T | Error)[]>
type Resolve<T> = (answer: T | Promise<T>) => void
type Value = string | Uint8Array | unknown[] | null

class ReadsOfKind<T extends Value> {
  readonly #answersAtOnce: boolean
  readonly #large: LargeEntries
  readonly #readOne: ReadOne<T>
  readonly #readMany: ReadMany<T>
  readonly #peek: ((canonical: string) => T | null) | undefined
  #canonicals = ''
  #waiting: Resolve<T>[] = []
  #waitingForLarge: { canonical: string; resolve: Resolve<T> }[] = []

  constructor(
    answersAtOnce: boolean,
    large: LargeEntries,
    readOne: ReadOne<T>,
    readMany: ReadMany<T>,
    peek: ((canonical: string) => T | null) | undefined,
  ) {
    this.#answersAtOnce = answersAtOnce
    this.#large = large
    this.#readOne = readOne
    this.#readMany = readMany
    this.#peek = peek
  }

  read(canonical: string): Promise<T> {
    const hasWaiting = this.#waiting.length > 0 || this.#waitingForLarge.length > 0
    if (this.#answersAtOnce || (isIdle() && !hasWaiting)) {
      return run((number) => this.#readOne(canonical, number))
    }
    try {
      const copy = this.#peek?.(canonical)
      if (copy !== undefined && copy !== null) {
        return Promise.resolve(copy)
      }
    } catch (error) {
      // A copy that is not the text it is asked for as.
      return Promise.reject(error)
    }
    if (!hasWaiting) {
      // When all code of this turn has run.
      process.nextTick(() => this.#send())
    }
    return new Promise((resolve) => {
      if (this.#large.has(canonical)) {
        this.#waitingForLarge.push({ canonical, resolve })
      } else {
        this.#canonicals += `${canonical}\n`
        this.#waiting.push(resolve)
      }
    })
  }

  #send(): void {
    const [canonicals, waiting, waitingForLarge] = [this.#canonicals, this.#waiting, this.#waitingForLarge]
    this.#canonicals = ''
    this.#waiting = []
    this.#waitingForLarge = []
    if (waiting.length > 0) {
      this.#sendMany(canonicals, waiting)
    }
    for (const { canonical, resolve } of waitingForLarge) {
      const answer = start(() => run((number) => this.#readOne(canonical, number)))
      resolve(answer)
      answer.then(
        (value) => this.#large.note(canonical, value),
        () => {},
      )
    }
  }

  #sendMany(canonicals: string, waiting: Resolve<T>[]): void {
    start(() => run((number) => this.#readMany(canonicals, number))).then(
      (answers) => {
        for (let index = 0; index < waiting.length; index += 1) {
          const answer = answers[index] as T | Error
          waiting[index]?.(answer instanceof Error ? Promise.reject(answer) : answer)
        }
        this.#large.noteAll(canonicals, answers)
      },
      (error) => {
        for (const resolve of waiting) {
          resolve(Promise.reject(error))
        }
      },
    )
  }
}

/** What is thrown is a rejection: nobody could catch it at the end of a turn. */
async function start<T>(begin: () => Promise<T>): Promise<T> {
  return begin()
}
