/** Rounds in which every arm has its turn. */

import type { Arm, Comparison, Metric } from './results.ts'

/** An arm while it is measured: what one turn of it gives, a value for each metric. */
export interface Contestant {
  name: string
  turn(): Promise<number[]>
  isRival?: false
}

/**
 * Every round gives every arm one turn, in an order that rotates, so that what the machine does meanwhile meets all of
 * them. The first round warms up and is not counted.
 */
export async function interleave(
  title: string,
  metrics: Metric[],
  contestants: Contestant[],
  rounds: number,
): Promise<Comparison> {
  const arms = contestants.map(({ name, isRival }): Arm => {
    const arm = { name, values: metrics.map(() => []) }
    return isRival === false ? { ...arm, isRival } : arm
  })
  for (let round = -1; round < rounds; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      const index = (round + 1 + turn) % contestants.length
      const measured = await (contestants[index] as Contestant).turn()
      if (round < 0) continue
      for (const [metric, value] of measured.entries()) arms[index]?.values[metric]?.push(value)
    }
  }
  return { title, metrics, arms }
}
