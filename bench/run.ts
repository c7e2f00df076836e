/**
 * `npm run bench`: runs the cases, keeps what they measured in `docs/benchmarks/results.json`, and writes the document
 * and its plots from that.
 *
 * `npm run bench -- redis mix --rounds 10` runs two cases again; the others stay as they were measured.
 * `npm run bench -- --report` only writes the document.
 */

import { parseArgs } from 'node:util'
import { broadPurge } from './cases/broad-purge.ts'
import type { Case } from './cases/case.ts'
import { cluster } from './cases/cluster.ts'
import { coldStart } from './cases/cold-start.ts'
import { fill } from './cases/fill.ts'
import { growth } from './cases/growth.ts'
import { http } from './cases/http.ts'
import { httpRedis } from './cases/http-redis.ts'
import { keys } from './cases/keys.ts'
import { local } from './cases/local.ts'
import { memory } from './cases/memory.ts'
import { mix } from './cases/mix.ts'
import { pieces } from './cases/pieces.ts'
import { purge } from './cases/purge.ts'
import { redis } from './cases/redis.ts'
import { roundTrip } from './cases/round-trip.ts'
import { writeReport } from './report.ts'
import { readResults, writeResults } from './results.ts'
import { describeHost } from './statistics.ts'

const CASES: Record<string, Case> = {
  keys,
  pieces,
  local,
  redis,
  'round-trip': roundTrip,
  fill,
  purge,
  mix,
  'broad-purge': broadPurge,
  'http-redis': httpRedis,
  cluster,
  http,
  memory,
  growth,
  'cold-start': coldStart,
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string' }, report: { type: 'boolean' } },
})
const unknown = positionals.find((name) => !Object.hasOwn(CASES, name))
if (unknown !== undefined) throw new Error(`there is no case ${unknown}: ${Object.keys(CASES).join(', ')}`)
const chosen = values.report ? [] : positionals.length === 0 ? Object.keys(CASES) : positionals

for (const name of chosen) {
  const { text, rounds: usual, run } = CASES[name] as Case
  const rounds = Number(values.rounds ?? usual)
  const start = performance.now()
  const comparisons = await run(rounds)
  console.log(`${name}: ${((performance.now() - start) / 1_000).toFixed(0)} s`)
  const date = new Date().toISOString().slice(0, 10)
  // Read anew: a case may have been run beside this one.
  await writeResults({ ...(await readResults()), [name]: { text, date, host: describeHost(), rounds, comparisons } })
}

const results = await readResults()
await writeReport(
  Object.fromEntries(Object.keys(CASES).flatMap((name) => (results[name] ? [[name, results[name]]] : []))),
)
