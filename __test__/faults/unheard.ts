import { setTimeout as pause } from 'node:timers/promises'
import { cutReplication } from '../support/redis-replication.ts'
import type { Observer } from '../support/redis-server.ts'

/** So long a primary goes on taking purges that its replica does not hear of. */
const UNHEARD_MS = 1_000

/** Has the primary take purges that this replica does not hear of. */
export async function goUnheard(replica: Observer): Promise<void> {
  await cutReplication(replica)
  await pause(UNHEARD_MS)
}
