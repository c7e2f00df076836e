/** The entries that all arms read and write. */

import { deriveCacheKey } from './port.ts'

export const SECRET = 'bench-secret-of-more-than-32-bytes-0123456789'

/** The parameters of entry `id`: what an application has in its hand. */
export function parametersOf(id: number): { document_id: number; page: number } {
  return { document_id: id, page: 3 }
}

/** The key of an entry, by the port that is written by hand. */
export function keyOf(context: string, id: number): string {
  return deriveCacheKey(SECRET, context, parametersOf(id))
}

const TEXT = 'Lorem ipsum dolor sit amet. '.repeat(4_000)

/** A value of exactly so many bytes, which names its entry and its version. */
export function makeValue(id: number, bytes: number, version = 0): string {
  const empty = JSON.stringify({ id, version, text: '' }).length
  return JSON.stringify({ id, version, text: TEXT.slice(0, bytes - empty) })
}

export function versionIn(value: string): number {
  return Number(/"version":(\d+)/.exec(value)?.[1])
}
