/**
 * `npm run faults`: brings faults about on real Redis servers under load, and writes what was measured into
 * docs/reliability.md. `npm run faults -- cluster` runs those with the word in their name and writes nothing.
 */

import { COMMAND_TIMEOUT_MS, type Result, run } from '../__test__/faults/campaign.ts'
import { clusterFaults } from '../__test__/faults/cluster.ts'
import { networkFaults } from '../__test__/faults/network.ts'
import { sentinelFaults } from '../__test__/faults/sentinel.ts'
import { standaloneFaults } from '../__test__/faults/standalone.ts'
import { describeHost } from '../bench/statistics.ts'
import { type Row, writeTable } from './reliability-document.ts'

const LASTS_MS = 6_000

const faults = [...standaloneFaults, ...networkFaults, ...sentinelFaults, ...clusterFaults]
const word = process.argv[2]?.toLowerCase()

function asRow(result: Result): Row {
  const milliseconds = (time: number) => `${Math.ceil(time)} ms`
  return {
    fault: result.name,
    requests: result.requests.toLocaleString('en'),
    failed: `${result.failed}`,
    'purges (deferred)': `${result.purges.toLocaleString('en')} (${result.deferredPurges.toLocaleString('en')})`,
    lost: `${result.lostPurges}`,
    'stale answers': `${result.stale}`,
    'longest call': milliseconds(result.longestCall),
    'on an open circuit': result.longestWithOpenCircuit > 0 ? milliseconds(result.longestWithOpenCircuit) : '–',
    'longest broad purge': milliseconds(result.longestBroadPurge),
    'longest pause of the process': milliseconds(result.longestPause),
    'stores again after': milliseconds(result.storedAgainAfter),
    'memory grew by': `${Math.max(0, Math.round(result.memoryGrowth / 2 ** 20))} MiB`,
  }
}

const rows: Row[] = []
for (const fault of faults.filter(({ name }) => word === undefined || name.toLowerCase().includes(word))) {
  const result = await run(fault, LASTS_MS)
  const row = asRow(result)
  rows.push(row)
  console.log(Object.entries(row).flat().join(' | '))
  if (result.failed > 0 || result.lostPurges > 0) {
    process.exitCode = 1
  }
}
if (word === undefined) {
  await writeTable(
    'faults',
    rows,
    `Calls of the cache have a timeout of ${COMMAND_TIMEOUT_MS} ms, each fault that does not end by itself lasts ${LASTS_MS / 1_000} s. ${describeHost()}.`,
  )
}
