/**
 * Reads, which go to Redis together where several are issued in one turn of the event loop: they cross into the addon
 * once, and are one command and one answer. A read that nothing else is under way beside is sent at once. Large values
 * are read each by itself, on a connection for such values: what is answered together is answered when all of it is
 * there, and what is answered by one connection when all is there that was asked of it before.
 */

import { begin, isIdle, run } from './completions.ts'
import { LargeEntries } from './large-entries.ts'
import type { LocalTexts } from './local-texts.ts'
import type { Answer, CacheOperations, LookupAnswer } from './native.ts'

/** The kinds of reads of one cache. */
export interface Reads {
  text: ReadsOfKind<string | null>
  bytes: ReadsOfKind<Uint8Array | null>
  lookup: ReadsOfKind<LookupAnswer>
}

export function readsOf(operations: CacheOperations, texts: LocalTexts): Reads {
  const { answersAtOnce, hasCopies, get, getBytes, lookup, getMany, getBytesMany, lookupMany } = operations
  const [peek, peekBytes] = answersAtOnce || hasCopies ? [texts.peek.bind(texts), operations.peekBytes] : []
  const large = new LargeEntries()
  return {
    text: new ReadsOfKind(answersAtOnce, large, get, getMany, peek),
    bytes: new ReadsOfKind(answersAtOnce, large, getBytes, getBytesMany, peekBytes),
    lookup: new ReadsOfKind<LookupAnswer>(answersAtOnce, large, lookup, lookupMany, peek),
  }
}

/** While these are on their way, and then while they are answered, the next are written down. */
const MOST_TOGETHER = 128

type ReadOne<T> = (canonical: string, number: number, isLarge: boolean) => Answer<T>
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
    try {
      const value = this.#peek?.(canonical)
      if (value !== undefined && value !== null) {
        return Promise.resolve(value)
      }
    } catch (error) {
      // A value that is not the text it is asked for as.
      return Promise.reject(error)
    }
    if (this.#answersAtOnce) {
      return run((number) => this.#readOne(canonical, number, false))
    }
    const isLarge = this.#large.has(canonical)
    const hasWaiting = this.#waiting.length > 0
    if (isLarge || (isIdle() && !hasWaiting)) {
      return this.#readAlone(canonical, isLarge)
    }
    if (!hasWaiting) {
      // When all code of this turn has run.
      process.nextTick(() => this.#send())
    }
    return new Promise((resolve) => {
      this.#canonicals += `${canonical}\n`
      this.#waiting.push(resolve)
      if (this.#waiting.length === MOST_TOGETHER) {
        this.#send()
        begin()
      }
    })
  }

  async #readAlone(canonical: string, isLarge: boolean): Promise<T> {
    const value = await run((number) => this.#readOne(canonical, number, isLarge))
    this.#large.note(canonical, value)
    return value
  }

  async #send(): Promise<void> {
    const [canonicals, waiting] = [this.#canonicals, this.#waiting]
    if (waiting.length === 0) {
      return
    }
    this.#canonicals = ''
    this.#waiting = []
    try {
      const answers = await run((number) => this.#readMany(canonicals, number))
      for (let index = 0; index < waiting.length; index += 1) {
        const answer = answers[index] as T | Error
        waiting[index]?.(answer instanceof Error ? Promise.reject(answer) : answer)
      }
      this.#large.noteAll(canonicals, answers)
    } catch (error) {
      for (const resolve of waiting) {
        resolve(Promise.reject(error))
      }
    }
  }
}
