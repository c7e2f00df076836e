/** What a run measures, as it is kept in `docs/benchmarks/results.json`. */

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

export interface Metric {
  name: string
  unit: string
  /** Which way is good; `neither` for a figure that only describes. */
  better: 'more' | 'less' | 'neither'
  /** Whether it is drawn. */
  plot?: true
}

/** One of the programs that are compared, and what it measured: for each metric one value per round. */
export interface Arm {
  name: string
  values: number[][]
  /** Not of what is part of the work, or below which nothing can be. */
  isRival?: false
}

/** The same work done by several arms, in rounds. */
export interface Comparison {
  title: string
  metrics: Metric[]
  /** The first is ours, which the others are compared with; one called `… again` is that one once more: the noise. */
  arms: Arm[]
}

export interface CaseResult {
  /** What was done, for a reader of the tables. */
  text: string
  date: string
  host: string
  rounds: number
  comparisons: Comparison[]
}

export type Results = Record<string, CaseResult>

export const DIRECTORY = fileURLToPath(new URL('../docs/benchmarks/', import.meta.url))
const FILE = `${DIRECTORY}results.json`

export async function readResults(): Promise<Results> {
  return await readFile(FILE, 'utf8').then(JSON.parse, () => ({}))
}

export async function writeResults(results: Results): Promise<void> {
  await mkdir(DIRECTORY, { recursive: true })
  // Five digits are more than any of these measurements is good for.
  const shorten = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(5)) : value)
  await writeFile(FILE, `${JSON.stringify(results, shorten, 1).replaceAll(/\[\s+([-\d.,e\s]+?)\s+\]/g, collapse)}\n`)
}

/** An array of numbers on one line. */
function collapse(_: string, numbers: string): string {
  return `[${numbers.replaceAll(/\s+/g, ' ')}]`
}
