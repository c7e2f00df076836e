/** The process of an arm: opens its cache, then runs the tasks that it is sent. */

import type { Description } from './arm.ts'
import type { Peer, PeerOptions } from './peers/peer.ts'
import { tasksOf } from './tasks.ts'

const description: Description = JSON.parse(process.argv[2] ?? '')
const { open }: { open(options: PeerOptions): Promise<Peer> } = await import(`./peers/${description.peer}.ts`)
const tasks = tasksOf(await open(description), description) as unknown as Record<
  string,
  (...args: unknown[]) => Promise<unknown>
>

process.on('message', async ({ task, args }: { task: string; args: unknown[] }) => {
  try {
    process.send?.({ result: await tasks[task]?.(...args) })
  } catch (error) {
    process.send?.({ error: error instanceof Error ? error.stack : String(error) })
  }
})
process.once('disconnect', () => process.exit())
process.send?.({})
