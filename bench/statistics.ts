/** What is said of repeated measurements. */

import { arch, cpus, platform, release } from 'node:os'

export function median(values: number[]): number {
  return quantile(values, 0.5)
}

export function quantile(values: ArrayLike<number>, part: number): number {
  const sorted = Float64Array.from(values).sort()
  const position = (sorted.length - 1) * part
  const below = sorted[Math.floor(position)] ?? Number.NaN
  const above = sorted[Math.ceil(position)] ?? Number.NaN
  return below + (above - below) * (position - Math.floor(position))
}

/** What a figure depends on besides the code. */
export function describeHost(): string {
  const { node, v8, openssl } = process.versions
  const host = `${platform()} ${release()} ${arch()}, ${cpus().length} × ${cpus()[0]?.model ?? 'an unknown CPU'}`
  return `Node ${node}, V8 ${v8}, OpenSSL ${openssl}; ${host}`
}
