/**
 * `npm run bench:reliability`: the same races, faults and purges for this cache and for others, and what each did, into
 * docs/reliability.md.
 */

import { readFile } from 'node:fs/promises'
import { type Row, writeTable } from '../../scripts/reliability-document.ts'
import { describeHost } from '../statistics.ts'
import { open as bentocache } from './bentocache.ts'
import { open as byHand } from './by-hand.ts'
import { open as cacheable } from './cacheable.ts'
import { open as keyv } from './keyv.ts'
import { open as mizan } from './mizan.ts'
import { open as ocache } from './ocache.ts'
import type { Open } from './peer.ts'
import { clusterPurge, fillRace, frozen, globCharacters, joinRace, killed } from './scripts.ts'

const { dependencies } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
const version = (name: string) => `${name} ${dependencies[name]}`

const peers: [name: string, open: Open][] = [
  ['@mizan/cache', mizan],
  [`by hand on ${version('ioredis')}`, byHand],
  [version('keyv'), keyv],
  [version('cacheable'), cacheable],
  [version('bentocache'), bentocache],
  [version('ocache'), ocache],
]

const scripts: [name: string, script: (open: Open) => Promise<string>][] = [
  ['a purge by another falls into a fill: the next read is', fillRace],
  ['a read after the purge, while the older load runs: it is', joinRace],
  ['the server stands still', frozen],
  ['the server is killed', killed],
  ['purge of all of 3,000 entries on three primaries', clusterPurge],
  ['names with glob characters', globCharacters],
]

const rows: Row[] = []
for (const [what, script] of scripts) {
  const row: Row = { '': what }
  for (const [name, open] of peers) {
    row[name] = await script(open).catch(
      (error: unknown) => `**fails**: ${error instanceof Error ? error.message : error}`,
    )
    console.log(`${what} | ${name} | ${row[name]}`)
  }
  rows.push(row)
}
await writeTable('peers', rows, `One run on ${describeHost()}.`)
process.exit()
