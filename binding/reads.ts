/**
 * Reads, which go to Redis together where several are issued in one turn of the event loop: they cross into the addon
 * once, and are one command and one answer. A read that nothing else is under way beside is sent at once.
 */

import { isIdle, run } from './completions.ts'
import type { Answer, CacheOperations, LookupAnswer } from './native.ts'

/** The kinds of reads of one cache. */
export interface Reads {
  text: ReadsOfKind<string | null>
  bytes: ReadsOfKind<Uint8Array | null>
  lookup: ReadsOfKind<LookupAnswer>
}

export function readsOf(operations: CacheOperations): Reads {
  const { answersAtOnce, hasCopies } = operations
  const peek = hasCopies ? operations.peek : undefined
  return {
    text: new ReadsOfKind(answersAtOnce, operations.get, operations.getMany, peek),
    bytes: new ReadsOfKind(
      answersAtOnce,
      operations.getBytes,
      operations.getBytesMany,
      hasCopies ? operations.peekBytes : undefined,
    ),
    lookup: new ReadsOfKind<LookupAnswer>(answersAtOnce, operations.lookup, operations.lookupMany, peek),
  }
}

class ReadsOfKind<T> {
  readonly #answersAtOnce: boolean
  readonly #readOne: (canonical: string, number: number) => Answer<T>
  readonly #readMany: (canonicals: string, number: number) => Answer<(T | Error)[]>
  readonly #peek: ((canonical: string) => T | null) | undefined
  #canonicals = ''
  #waiting: ((answer: T | Promise<never>) => void)[] = []

  constructor(
    answersAtOnce: boolean,
    readOne: (canonical: string, number: number) => Answer<T>,
    readMany: (canonicals: string, number: number) => Answer<(T | Error)[]>,
    peek: ((canonical: string) => T | null) | undefined,
  ) {
    this.#answersAtOnce = answersAtOnce
    this.#readOne = readOne
    this.#readMany = readMany
    this.#peek = peek
  }

  read(canonical: string): Promise<T> {
    if (this.#answersAtOnce || (isIdle() && this.#waiting.length === 0)) {
      return run((number) => this.#readOne(canonical, number))
    }
    const copy = this.#peek?.(canonical)
    if (copy !== undefined && copy !== null) {
      return Promise.resolve(copy)
    }
    if (this.#waiting.length === 0) {
      // When all code of this turn has run.
      process.nextTick(() => this.#send())
    }
    this.#canonicals += `${canonical}\n`
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  #send(): void {
    const [canonicals, waiting] = [this.#canonicals, this.#waiting]
    this.#canonicals = ''
    this.#waiting = []
    const sent = new Promise<(T | Error)[]>((resolve) => {
      resolve(run((number) => this.#readMany(canonicals, number)))
    })
    sent.then(
      (answers) => {
        for (let index = 0; index < waiting.length; index += 1) {
          const answer = answers[index] as T | Error
          waiting[index]?.(answer instanceof Error ? Promise.reject(answer) : answer)
        }
      },
      (error) => {
        for (const resolve of waiting) {
          resolve(Promise.reject(error))
        }
      },
    )
  }
}
