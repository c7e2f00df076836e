/** A process of readers and writers, which checks what it reads. Started by `campaign.ts`. */

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { Cache, type CacheOptions } from '../../cache/index.ts'
import { PythonPeer } from '../support/python-peer.ts'
import { NOTHING, type Tally } from './tally.ts'
import { openTruth } from './truth.ts'
import { type Read, type Row, VARIANTS, type Variant, type Ways } from './variants.ts'

export interface RacerSettings {
  readonly variant: Variant
  readonly truthUrl: string
  readonly cache: CacheOptions & { readonly secret: string; readonly redisUrl: string; readonly leaseMs: number }
  /** A Python with redis-py, whose plain GET and DEL take part. */
  readonly python: string | null
}

const CONTEXTS = ['profile', 'orders', 'basket']
const ROWS_PER_CONTEXT = 4
const ROWS: Row[] = CONTEXTS.flatMap((context) =>
  Array.from({ length: ROWS_PER_CONTEXT }, (_, id) => ({ context, id })),
)
const READERS = 6
const READS_AT_ONCE = 4
const WRITERS = 6
const REPORT_EVERY_MS = 50
/** A local copy may be as old as its connection's last heartbeat, and a purge's answer takes its time (`protocol.md` §5). */
const LAG_BOUND_MS = 5_000

const settings = JSON.parse(process.argv[2] ?? '') as RacerSettings
const cache = new Cache(settings.cache)
const truth = await openTruth(settings.truthUrl)
const ways: Ways = await VARIANTS[settings.variant](cache, settings.cache.redisUrl)
const python =
  settings.python === null ? null : new PythonPeer(settings.python, settings.cache.redisUrl, settings.cache.secret)
if (python !== null) {
  ways['Python’s GET'] = async ({ context, id }) => {
    const found = await python.ask('get', { context, params: { id } })
    return typeof found === 'string' ? found : null
  }
}
const hasLocalTier = Boolean(settings.cache.local)

/** Per row, what this process itself has purged: its own reads are never older, also with a local tier. */
const purgedHere: number[] = ROWS.map(() => 0)
const tally = { ...NOTHING }
let isOver = false

function below(limit: number): number {
  return Math.floor(Math.random() * limit)
}

function pick<T>(items: readonly T[]): T {
  return items[below(items.length)] as T
}

/** Mostly no time at all, else anything up to what makes a lease expire. */
async function pause(): Promise<void> {
  const kind = below(100)
  if (kind < 40) return
  if (kind < 60) await nextTurn()
  else if (kind < 95) await sleep(1 + below(5))
  else await sleep(below(2 * Math.min(settings.cache.leaseMs, 50)))
}

function bodyOf(row: number, version: number): string {
  return JSON.stringify({ row, version, padding: 'x'.repeat(below(1_000)) })
}

async function load(row: number): Promise<string> {
  await pause()
  const [version = 0] = await truth.versions([row])
  await pause()
  return bodyOf(row, version)
}

async function readSome(): Promise<void> {
  const rows = Array.from({ length: READS_AT_ONCE }, () => below(ROWS.length))
  const purged = await truth.purged(rows)
  await Promise.all(rows.map((row, at) => readOne(row, purged[at] ?? 0)))
}

async function readOne(row: number, purged: number): Promise<void> {
  const mustBe = Math.max(purged, purgedHere[row] ?? 0)
  const hereMustBe = hasLocalTier ? (purgedHere[row] ?? 0) : mustBe
  let hasLoaded = false
  const [way, read] = pick(Object.entries(ways)) as [string, Read]
  const body = await read(ROWS[row] as Row, () => {
    hasLoaded = true
    return load(row)
  })
  if (body === null) return
  const version = versionIn(body, row)
  tally.reads += 1
  if (!hasLoaded) tally.served += 1
  if (version >= mustBe) return
  if (version >= hereMustBe && (await becomesCurrent(row, mustBe))) {
    tally.lagging += 1
    return
  }
  tally.stale += 1
  tally.example ??= `${JSON.stringify(ROWS[row])}: version ${version} after the purge of ${mustBe} (${way})`
}

function versionIn(body: string, row: number): number {
  const found = JSON.parse(body) as { row: number; version: number }
  if (found.row !== row) throw new Error(`row ${row} was answered with ${body}`)
  return found.version
}

/** Whether a copy in this process goes within the bound. */
async function becomesCurrent(row: number, mustBe: number): Promise<boolean> {
  const since = performance.now()
  const { context, id } = ROWS[row] as Row
  for (;;) {
    const body = await cache.get(context, { id })
    const lag = performance.now() - since
    if (lag > LAG_BOUND_MS) return false
    if (body === null || versionIn(body, row) >= mustBe) {
      tally.longestLag = Math.max(tally.longestLag, lag)
      return true
    }
    await nextTurn()
  }
}

async function writeOnce(): Promise<void> {
  await sleep(below(10))
  const context = pick(CONTEXTS)
  const ofContext = ROWS.flatMap((row, index) => (row.context === context ? [index] : []))
  const isBroad = below(5) === 0
  const rows = isBroad ? ofContext : [pick(ofContext)]
  await truth.commit(isBroad ? rows.filter(() => below(2) === 0) : rows)
  await pause()
  const committed = await truth.versions(rows)
  if (isBroad) {
    if (await isPurged(cache.purge(context))) await hasPurged(rows, committed, true)
    tally.broadPurges += 1
    return
  }
  const { id } = ROWS[rows[0] as number] as Row
  if (python !== null && below(2) === 0) {
    await python.ask('del', { context, params: { id } })
    await hasPurged(rows, committed, false)
  } else if (await isPurged(cache.purge(context, { id }))) {
    await hasPurged(rows, committed, true)
  }
  tally.scopedPurges += 1
}

/** Whether Redis took the purge: one that it did not is kept, and other processes have not seen it. */
async function isPurged(purge: Promise<unknown>): Promise<boolean> {
  const before = cache.stats().deferredPurges
  await purge
  return cache.stats().deferredPurges === before
}

async function hasPurged(rows: readonly number[], committed: readonly number[], isByThisCache: boolean): Promise<void> {
  if (isByThisCache) {
    for (const [at, row] of rows.entries()) purgedHere[row] = Math.max(purgedHere[row] ?? 0, committed[at] ?? 0)
  }
  await truth.hasPurged(rows, committed)
}

function report(): void {
  const { stores, refusedStores, deferredPurges } = cache.stats()
  const now: Tally = { ...tally, fills: stores, refusedFills: refusedStores, deferredPurges }
  process.send?.(now)
}

async function repeat(act: () => Promise<void>): Promise<void> {
  while (!isOver) await act()
}

process.on('message', () => {
  isOver = true
})
process.on('disconnect', () => process.exit())
const reporting = setInterval(report, REPORT_EVERY_MS)
await Promise.all([
  ...Array.from({ length: READERS }, () => repeat(readSome)),
  ...Array.from({ length: WRITERS }, () => repeat(writeOnce)),
])
clearInterval(reporting)
report()
process.disconnect?.()
