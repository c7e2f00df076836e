import { eventually } from './eventually.ts'
import type { Observer } from './redis-server.ts'

/** Keeps a replica from hearing any more of its primary, which goes on and knows of nothing. */
export async function cutReplication(replica: Observer): Promise<void> {
  await replica.configSet({ masteruser: 'nobody', masterauth: 'wrong' })
  await replica.sendCommand(['CLIENT', 'KILL', 'TYPE', 'master'])
  await eventually('the replica has lost its primary', async () => {
    return (await replica.info('replication')).includes('master_link_status:down')
  })
}

/** Lets it follow a primary again. */
export async function mendReplication(replica: Observer): Promise<void> {
  await replica.configSet({ masteruser: '', masterauth: '' })
}
