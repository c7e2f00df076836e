/** Processor time, which what else runs on the machine distorts less than the clock. */

import { readFileSync } from 'node:fs'

export interface ProcessorTime {
  /** Microseconds of the main thread, where JavaScript runs. */
  main: number
  /** Microseconds of all threads. */
  all: number
}

export function processorTime(): ProcessorTime {
  return { main: mainThreadTime(), all: allThreadsTime() }
}

/** Microseconds of all threads that some work takes. */
export function processorTimeOf(work: () => void): number {
  const before = allThreadsTime()
  work()
  return allThreadsTime() - before
}

function allThreadsTime(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** Linux tells it; elsewhere the time in which the event loop was not waiting comes near to it. */
function mainThreadTime(): number {
  const time = mainThreadTimeOf(process.pid)
  return Number.isNaN(time) ? performance.eventLoopUtilization().active * 1_000 : time
}

/** Microseconds of the main thread of a process, if Linux tells it. */
export function mainThreadTimeOf(processId: number): number {
  try {
    const text = readFileSync(`/proc/${processId}/sched`, 'latin1')
    return Number(/se\.sum_exec_runtime\s*:\s*([\d.]+)/.exec(text)?.[1]) * 1_000
  } catch {
    return Number.NaN
  }
}
