/** Provokes a fault in an addon that has faults on purpose. Arguments: the path of the addon, and the fault. */

import { createRequire } from 'node:module'

const [path = '', fault] = process.argv.slice(2)
const waiting = new Map()
const { faults, begin, canonicalForm } = createRequire(import.meta.url)(path).attach(
  /**
   * @param {unknown[]} resolved
   * @param {unknown[]} rejected
   */
  (resolved, rejected) => {
    for (let index = 0; index < resolved.length; index += 2) waiting.get(resolved[index]).resolve(resolved[index + 1])
    for (let index = 0; index < rejected.length; index += 2) waiting.get(rejected[index]).reject(rejected[index + 1])
  },
)

/** @param {number} number */
const later = (number) =>
  new Promise((resolve, reject) => {
    waiting.set(number, { resolve, reject })
    faults.panicLater(number)
  })

if (fault === 'readFreed') {
  console.log(faults.readFreed())
} else {
  try {
    faults.panicNow()
  } catch (error) {
    console.log(`a call: ${/** @type {NodeJS.ErrnoException} */ (error).code}`)
  }
  const panics = Array.from({ length: 100 }, (_, number) => later(number))
  begin()
  const settled = await Promise.allSettled(panics)
  const codes = settled.map((each) => (each.status === 'rejected' ? each.reason.code : 'resolved'))
  console.log(`100 tasks: ${[...new Set(codes)].join()}`)
  console.log(`and goes on: ${canonicalForm('user', {})}`)
}
