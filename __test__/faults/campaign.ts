import { setTimeout as pause } from 'node:timers/promises'
import type { Observer } from '../support/redis-server.ts'
import type { Fault } from './fault.ts'
import { type Expectation, Load, type Measured } from './load.ts'

/** The cache runs with the defaults of these. */
export const COMMAND_TIMEOUT_MS = 500

const BEFORE_MS = 1_500
const AFTER_MS = 2_000

export interface Result extends Measured {
  name: string
  /** Purges that Redis does not show the effect of, though it was told. */
  lostPurges: number
}

/**
 * Puts a load on a cache, brings the fault about for so long, ends it, and looks what Redis has then.
 *
 * Seen to fail: with purges that Redis refuses forgotten instead of kept, the row *refuses every command* has 643 lost
 * purges and 2,105 stale answers.
 */
export async function run(fault: Fault, lastsMilliseconds: number): Promise<Result> {
  const scene = await fault.prepare()
  const load = new Load(scene.options, fault.heavyLoad ?? false)
  try {
    await load.start()
    await pause(BEFORE_MS)
    await load.faultBegins()
    await pause(BEFORE_MS / 3)
    await scene.begin()
    if (!fault.endsByItself) {
      await pause(lastsMilliseconds)
    }
    await scene.end()
    await load.faultIsOver()
    await pause(AFTER_MS)
    const { gone, atLeast, ...measured } = await load.finish()
    const lostPurges = countLost(await readEntries(await scene.observe()), { gone, atLeast })
    return { name: fault.name, ...measured, lostPurges }
  } finally {
    load.stop()
    await scene.stop()
  }
}

function countLost(entries: Map<string, string>, { gone, atLeast }: Expectation): number {
  const reappeared = gone.filter((key) => entries.has(key))
  const older = atLeast.filter(([key, least]) => Number(entries.get(key) ?? least) < least)
  return reappeared.length + older.length
}

/** The values of all entries; a lease is none. */
async function readEntries(primaries: Observer[]): Promise<Map<string, string>> {
  const entries = new Map<string, string>()
  for (const primary of primaries) {
    const keys = await primary.keys('ctx:*')
    const read = keys.map(async (key) => {
      const value = await primary.get(key).catch(() => null)
      if (value !== null) {
        entries.set(key, value)
      }
    })
    await Promise.all(read)
  }
  return entries
}
