/** Bars as SVG: a panel for each comparison, a bar for each arm, its median, and a line from the least to the greatest. */

import type { Arm, Comparison, Metric } from './results.ts'
import { median } from './statistics.ts'

const LABELS = 250
const BARS = 330
const FIGURES = 60
const ROW = 18
const HEAD = 30
const WIDTH = LABELS + BARS + FIGURES + 20

export function drawPlot(metric: Metric, comparisons: Comparison[]): string {
  const panels: string[] = []
  let top = HEAD
  for (const { title, metrics, arms } of comparisons) {
    const index = metrics.findIndex(({ name }) => name === metric.name)
    if (index < 0) continue
    panels.push(`<g transform="translate(10 ${top})">${drawPanel(title, arms, index)}</g>`)
    top += HEAD + arms.length * ROW
  }
  const arrow = { more: 'more is better', less: 'less is better', neither: '' }[metric.better]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${top + 10}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="10" y="18" font-weight="bold">${escapeXml(metric.name)} (${arrow})</text>
${panels.join('\n')}
</svg>
`
}

function drawPanel(title: string, arms: Arm[], index: number): string {
  const values = arms.map((arm) => arm.values[index] ?? [])
  const scale = BARS / Math.max(...values.flat(), Number.MIN_VALUE)
  const rows = arms.map((arm, row) => {
    const own = values[row] as number[]
    const [middle, least, greatest] = [median(own), Math.min(...own), Math.max(...own)].map((value) => value * scale)
    const y = HEAD - 6 + row * ROW
    const colour = /mizan|origin/.test(arm.name) ? '#1f6fb2' : '#b8b8b8'
    return `<text x="${LABELS - 6}" y="${y + 12}" text-anchor="end">${escapeXml(arm.name)}</text>
<rect x="${LABELS}" y="${y + 2}" width="${fixed(middle)}" height="${ROW - 5}" fill="${colour}"/>
<path d="M${fixed(LABELS + (least ?? 0))} ${y + ROW / 2}H${fixed(LABELS + (greatest ?? 0))}" stroke="black"/>
<text x="${LABELS + BARS + 6}" y="${y + 12}">${label(median(own))}</text>`
  })
  return `<text x="0" y="14" fill="#444" font-style="italic">${escapeXml(title)}</text>\n${rows.join('\n')}`
}

function label(value: number): string {
  return value.toLocaleString('en', { maximumSignificantDigits: 3 })
}

function fixed(value: number | undefined): string {
  return (value ?? 0).toFixed(1)
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
