/**
 * The functions of the event loop, taken when this module is evaluated: whoever replaces them later, as fake timers do,
 * does not stop what is in flight.
 */

import { clearTimeout, setImmediate, setTimeout } from 'node:timers'

export const afterPoll: typeof setImmediate = setImmediate
export const startTimer: typeof setTimeout = setTimeout
export const stopTimer: typeof clearTimeout = clearTimeout
export const now: () => number = performance.now.bind(performance)
