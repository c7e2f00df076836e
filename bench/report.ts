/** The document and the plots, from what was measured. */

import { writeFile } from 'node:fs/promises'
import { drawPlot } from './plot.ts'
import { type Arm, type Comparison, DIRECTORY, type Metric, type Results } from './results.ts'
import { median } from './statistics.ts'

const INTRODUCTION = `# Benchmarks

Written by \`npm run bench\`, which installs the peers, starts a private Redis, checks that all return the same bytes, and runs everything below in about 25 minutes. \`npm run bench -- redis mix --rounds 10\` runs two cases again and leaves the rest. All measurements are in [results.json](results.json).

Each arm is a process of its own: clients have timers, sockets, threads and garbage by which they would disturb one another in one, and a process's processor time is then the arm's alone. Only the derivation of keys is measured in one process. The arms take turns, round by round, in an order that rotates; a first round is not counted.

A figure is the median of the rounds. A ratio compares two arms of one round: how many times as good mizan is, so that **below 1 the peer is better**; its median, with the least and the greatest. The arm called *again* is mizan once more: its ratio is what noise alone makes. Processor time is that of all threads of the process; *main thread* is the one that runs JavaScript. On a machine of two cores the load, Redis and the arm compete, so the rates by the clock say less than processor time does.
`

export async function writeReport(results: Results): Promise<void> {
  const sections: string[] = []
  for (const [name, { text, date, host, rounds, comparisons }] of Object.entries(results)) {
    const plots = await drawPlots(name, comparisons)
    const wins = comparisons.flatMap(peerWins)
    sections.push(`## ${name}

${text}

${rounds} rounds on ${date}. ${host}.

${plots.join('\n')}

${comparisons.every(hasRivals) ? verdict(wins) : ''}

<details><summary>Tables</summary>

${comparisons.map(table).join('\n\n')}

</details>
`)
  }
  await writeFile(`${DIRECTORY}README.md`, [INTRODUCTION, ...sections].join('\n'))
}

async function drawPlots(name: string, comparisons: Comparison[]): Promise<string[]> {
  const plots: string[] = []
  const metrics = new Map(comparisons.flatMap((each) => each.metrics).map((metric) => [metric.name, metric]))
  for (const metric of metrics.values()) {
    if (!metric.plot) continue
    const file = `${name}-${metric.name.replaceAll(/[^a-z]+/gi, '-')}.svg`
    await writeFile(`${DIRECTORY}${file}`, drawPlot(metric, comparisons))
    plots.push(`![${name}: ${metric.name}](${file})`)
  }
  return plots
}

/** How many times as good the first arm is, round by round. */
function ratios([ours]: Arm[], theirs: Arm, metric: Metric, index: number): number[] {
  return (theirs.values[index] ?? []).map((value, round) => {
    const our = ours?.values[index]?.[round] ?? Number.NaN
    return metric.better === 'more' ? our / value : value / our
  })
}

const isOurs = (arm: Arm) => /mizan|origin/.test(arm.name)

function hasRivals({ arms }: Comparison): boolean {
  return arms.some((arm) => !isOurs(arm) && arm.isRival !== false)
}

function verdict(wins: string[]): string {
  return wins.length === 0 ? 'No peer is better than mizan here.' : `Where a peer is better:\n\n${wins.join('\n')}`
}

/** A line for every peer and metric in which mizan is behind by more than noise. */
function peerWins({ title, metrics, arms }: Comparison): string[] {
  const again = arms.find((arm) => arm.name.endsWith(' again'))
  return arms
    .filter((arm) => !isOurs(arm) && arm.isRival !== false)
    .flatMap((arm) =>
      metrics.flatMap((metric, index) => {
        if (metric.better === 'neither') return []
        const ratio = median(ratios(arms, arm, metric, index))
        const noise = again === undefined ? [1] : ratios(arms, again, metric, index)
        if (!(ratio < Math.min(1, ...noise))) return []
        return [`- ${title}: **${arm.name}** is better in ${metric.name}, ${digits(1 / ratio)} times.`]
      }),
    )
}

function table({ title, metrics, arms }: Comparison): string {
  const heads = metrics.flatMap((metric) => (metric.better === 'neither' ? [metric.name] : [metric.name, 'ratio']))
  const rows = arms.map((arm) => {
    const cells = metrics.flatMap((metric, index) => {
      const values = arm.values[index] ?? []
      const value = values.length === 0 ? '' : digits(median(values))
      if (metric.better === 'neither') return [value]
      return [value, arm === arms[0] ? '' : withSpread(ratios(arms, arm, metric, index))]
    })
    return `| ${[arm.name, ...cells].join(' | ')} |`
  })
  const line = `| --- |${' ---: |'.repeat(heads.length)}`
  return [`### ${title}`, '', `| ${['', ...heads].join(' | ')} |`, line, ...rows].join('\n')
}

function withSpread(values: number[]): string {
  const known = values.filter(Number.isFinite)
  if (known.length === 0) return ''
  return `${digits(median(known))} (${digits(Math.min(...known))} to ${digits(Math.max(...known))})`
}

/** Three digits, or all before the point. */
export function digits(value: number): string {
  const decimals = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toLocaleString('en', {
    minimumFractionDigits: Math.min(decimals, 4),
    maximumFractionDigits: Math.min(decimals, 4),
  })
}
