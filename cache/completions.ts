/** The promises of operations whose answer is still to come. */

import type { Answer } from './native.ts'

interface Waiting {
  resolve(answer: unknown): void
  reject(error: unknown): void
}

const waiting = new Map<number, Waiting>()
let lastNumber = 0
let isSettling = false
let isBeginDue = false
let beginNow = () => {}

/** By what the operations are begun that were made ready. */
export function beginBy(begin: () => void): void {
  beginNow = begin
}

/**
 * Makes an operation ready under a number of its own. It begins at once when nothing else is under way, otherwise with
 * all others of its turn of the event loop.
 */
export function run<T>(start: (number: number) => Answer<T>): Promise<T> {
  const number = ++lastNumber
  const answer = start(number)
  if (answer !== undefined) {
    return Promise.resolve(answer)
  }
  if (isIdle()) {
    beginNow()
  } else if (!isBeginDue) {
    isBeginDue = true
    process.nextTick(begin)
  }
  return new Promise<T>((resolve, reject) => {
    waiting.set(number, { resolve: resolve as (answer: unknown) => void, reject })
  })
}

/** Begins what is ready. */
export function begin(): void {
  isBeginDue = false
  beginNow()
}

/** Whether no operation's answer is still to come, or has just come: what is read next is then seldom read alone. */
export function isIdle(): boolean {
  return waiting.size === 0 && !isSettling
}

/** Settles what has ended: numbers and answers in turns, numbers and errors in turns. */
export function settle(resolved: unknown[], rejected: unknown[]): void {
  isSettling = true
  queueMicrotask(settleNoMoreNextTick)
  for (let index = 0; index < resolved.length; index += 2) {
    take(resolved[index])?.resolve(resolved[index + 1])
  }
  for (let index = 0; index < rejected.length; index += 2) {
    take(rejected[index])?.reject(rejected[index + 1])
  }
}

/** The next tick runs after all microtasks, and so after all that waited for an answer; but only if none of them is due yet. */
function settleNoMoreNextTick(): void {
  process.nextTick(settleNoMore)
}

function settleNoMore(): void {
  isSettling = false
}

function take(number: unknown): Waiting | undefined {
  const found = waiting.get(number as number)
  waiting.delete(number as number)
  return found
}
