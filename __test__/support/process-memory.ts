import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const PROGRAM = fileURLToPath(new URL('../process/memory-program.mjs', import.meta.url))
const SAMPLES = 30

/**
 * How much more resident memory a process may have at the end of a run than after its warm-up. In a third of a million
 * entries that is 25 bytes for each, in a third of 60,000 less than half a value.
 */
export const MEMORY_BOUND_MIB = 8

export interface MemoryRun {
  /** Resident memory in MiB, 30 times on the way, each after a garbage collection. */
  samples: number[]
  /** The middle of the last third above the middle of the second; the first third is warm-up. */
  growth: number
}

/** Runs put, get and purge in a process of their own, on entries that were never there before. */
export async function runMemoryCampaign(url: string, cycles: number): Promise<MemoryRun> {
  const args = ['--expose-gc', PROGRAM, url, `${cycles}`, `${SAMPLES}`]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  const samples = stdout
    .trim()
    .split('\n')
    .map((bytes) => Number(bytes) / 1024 / 1024)
  const third = SAMPLES / 3
  return { samples, growth: median(samples.slice(2 * third)) - median(samples.slice(third, 2 * third)) }
}

function median(numbers: number[]): number {
  return numbers.toSorted((left, right) => left - right)[Math.floor(numbers.length / 2)] as number
}
