/** What both benchmarks say of repeated measurements. */

import { arch, cpus, platform, release } from 'node:os'

export function median(values: number[]): number {
  const sorted = values.toSorted((left, right) => left - right)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

/** The median, and the least and the greatest. */
export function withSpread(values: number[]): string {
  return `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)})`
}

/** What a figure depends on besides the code. */
export function describeHost(): string {
  const { node, v8, openssl } = process.versions
  const host = `${platform()} ${release()} ${arch()}, ${cpus().length} × ${cpus()[0]?.model ?? 'an unknown CPU'}`
  return `Node ${node}, V8 ${v8}, OpenSSL ${openssl}; ${host}`
}
