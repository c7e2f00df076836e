import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

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
  const lines = await linesOf('memory-program.mjs', [url, `${cycles}`, `${SAMPLES}`])
  return memoryRun(lines.map((bytes) => Number(bytes) / 1024 / 1024))
}

/** What a process uses and lets go again and again; `leaks-program.mjs` says how. */
export type LetGo = 'promises' | 'closed' | 'heard' | 'dropped' | 'unused' | 'workers'

/** What a process holds. */
export interface Held {
  /** Open files, sockets among them. */
  files: number
  threads: number
  /** What keeps Node alive. */
  alive: number
}

export interface LeakRun {
  before: Held
  after: Held
  memory: MemoryRun
}

/** Lets go in a process of its own, and gives everything that was let go the time to be gone. */
export async function runLeakCampaign(url: string, what: LetGo, rounds: number, samples = SAMPLES): Promise<LeakRun> {
  const lines = await linesOf('leaks-program.mjs', [url, what, `${rounds}`, `${samples}`])
  const [before, ...others] = lines.slice(1).map((line): Held & { rss: number } => JSON.parse(line))
  const after = others.at(-1)
  if (before === undefined || after === undefined) throw new Error('the program has printed no samples')
  const held = ({ files, threads, alive }: Held) => ({ files, threads, alive })
  return { before: held(before), after: held(after), memory: memoryRun(others.map(({ rss }) => rss)) }
}

async function linesOf(program: string, args: string[]): Promise<string[]> {
  const path = fileURLToPath(new URL(`../process/${program}`, import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', path, ...args])
  return stdout.trim().split('\n')
}

function memoryRun(samples: number[]): MemoryRun {
  const third = Math.floor(samples.length / 3)
  return { samples, growth: median(samples.slice(2 * third)) - median(samples.slice(third, 2 * third)) }
}

function median(numbers: number[]): number {
  return numbers.toSorted((left, right) => left - right)[Math.floor(numbers.length / 2)] as number
}
