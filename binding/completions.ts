/** The promises of operations whose answer is still to come. */

import type { Answer } from './native.ts'

interface Waiting {
  resolve(answer: unknown): void
  reject(error: unknown): void
}

const waiting = new Map<number, Waiting>()
let lastNumber = 0

/** Starts an operation under a number of its own. */
export function run<T>(start: (number: number) => Answer<T>): Promise<T> {
  const number = ++lastNumber
  const answer = start(number)
  if (answer !== undefined) {
    return Promise.resolve(answer)
  }
  return new Promise<T>((resolve, reject) => {
    waiting.set(number, { resolve: resolve as (answer: unknown) => void, reject })
  })
}

/** Whether no operation's answer is still to come. */
export function isIdle(): boolean {
  return waiting.size === 0
}

/** Settles what has ended: numbers and answers in turns, numbers and errors in turns. */
export function settle(resolved: unknown[], rejected: unknown[]): void {
  for (let index = 0; index < resolved.length; index += 2) {
    take(resolved[index])?.resolve(resolved[index + 1])
  }
  for (let index = 0; index < rejected.length; index += 2) {
    take(rejected[index])?.reject(rejected[index + 1])
  }
}

function take(number: unknown): Waiting | undefined {
  const found = waiting.get(number as number)
  waiting.delete(number as number)
  return found
}
