/** The source of truth: a version per row, and what every read must be at least as new as. On a Redis of its own. */

import { createClient } from '@redis/client'

/** How often each row was changed. A commit is one more; Redis does one at a time. */
const VERSIONS = 'versions'
/** Per row, the version that was committed when the newest completed purge began. */
const PURGED = 'purged'

const RAISE = `
for index = 1, #ARGV, 2 do
  local before = tonumber(redis.call('HGET', KEYS[1], ARGV[index])) or 0
  if tonumber(ARGV[index + 1]) > before then redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1]) end
end`

export type Truth = Awaited<ReturnType<typeof openTruth>>

export async function openTruth(url: string) {
  const client = createClient({ url, RESP: 2 })
  await client.connect()

  async function numbers(hash: string, rows: readonly number[]): Promise<number[]> {
    return (await client.hmGet(hash, rows.map(String))).map(Number)
  }

  return {
    commit: (rows: readonly number[]) => Promise.all(rows.map((row) => client.hIncrBy(VERSIONS, `${row}`, 1))),
    versions: (rows: readonly number[]) => numbers(VERSIONS, rows),
    purged: (rows: readonly number[]) => numbers(PURGED, rows),
    /** A purge of these rows, at whose beginning these versions were committed, has completed. */
    hasPurged: (rows: readonly number[], versions: readonly number[]) =>
      client.eval(RAISE, { keys: [PURGED], arguments: rows.flatMap((row, at) => [`${row}`, `${versions[at]}`]) }),
    close: () => client.destroy(),
  }
}
