/** The promises of calls in flight, each under a number, and the loop that settles them. */

import type { Lookup } from './cache.ts'
import type { Tags } from './native.ts'

/** What is done with an answer: a promise's own function, which takes a rejected promise too. */
type Resolve = (answer: never) => void

const FIRST_SIZE = 1_024
/** A tag is a number, and in its last bits one of the codes below: `src/answers.rs` has them too. */
const CODE_BITS = 3
const CODE_MASK = 7
const REJECTED = 1
const LEASED = 2
const HELD = 3
const HIT = 4
const MISS = 5

export class PendingCalls {
  /** Filled, so that each element is the array's own: no setter of a prototype is called. */
  #resolvers: (Resolve | undefined)[] = new Array(FIRST_SIZE).fill(undefined)
  #last = -1
  #count = 0

  get count(): number {
    return this.#count
  }

  /** A number that is free. Numbers that are taken one after the other are consecutive, where nothing is in the way. */
  next(): number {
    if (this.#count * 2 >= this.#resolvers.length) {
      this.#resolvers = this.#resolvers.concat(new Array(this.#resolvers.length).fill(undefined))
    }
    let number = this.#last
    do {
      number = number + 1 === this.#resolvers.length ? 0 : number + 1
    } while (this.#resolvers[number] !== undefined)
    this.#last = number
    return number
  }

  /** Has the call of a number settled by this function. */
  add(number: number, resolve: (answer: never) => void): void {
    this.#resolvers[number] = resolve
    this.#count += 1
  }

  /** Settles calls by their answers, of each of which the tag says what it is. */
  settle(tags: Tags, ...answers: unknown[]): void {
    for (let index = 0; index < answers.length; index += 1) {
      const tag = tags[index] as number
      const answer = answers[index]
      const resolve = this.#take(tag >>> CODE_BITS)
      switch (tag & CODE_MASK) {
        case REJECTED:
          resolve(Promise.reject(answer) as never)
          break
        case LEASED:
          resolve({ value: null, lease: answer as string, held: null } satisfies Lookup as never)
          break
        case HELD:
          resolve({ value: null, lease: null, held: answer as string } satisfies Lookup as never)
          break
        case HIT:
        case MISS:
          resolve({ value: answer as string | null, lease: null, held: null } satisfies Lookup as never)
          break
        default:
          resolve(answer as never)
      }
    }
  }

  /** Rejects so many calls from a number on. */
  reject(first: number, count: number, error: unknown): void {
    for (let number = first; number < first + count; number += 1) {
      this.#take(number)(Promise.reject(error) as never)
    }
  }

  #take(number: number): Resolve {
    const resolve = this.#resolvers[number]
    if (resolve === undefined) {
      return ignore
    }
    this.#resolvers[number] = undefined
    this.#count -= 1
    return resolve
  }
}

function ignore(): void {}
