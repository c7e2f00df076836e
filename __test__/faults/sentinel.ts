/** Faults of a Sentinel group. */

import { eventually } from '../support/eventually.ts'
import { mendReplication } from '../support/redis-replication.ts'
import { PRIMARY_NAME, RedisSentinelGroup } from '../support/redis-sentinel.ts'
import type { RedisServer } from '../support/redis-server.ts'
import type { Fault } from './fault.ts'
import { goUnheard } from './unheard.ts'

function failover(
  name: string,
  begin: (primary: RedisServer, replica: RedisServer, group: RedisSentinelGroup) => Promise<void>,
): Fault {
  const prepare = async () => {
    const group = await RedisSentinelGroup.start()
    const before = await group.primary()
    const replica = group.servers.find((server) => server !== before) as RedisServer
    return {
      options: { sentinel: { urls: group.urls, name: PRIMARY_NAME } },
      begin: () => begin(before, replica, group),
      end: async () => {
        await eventually('the sentinels name another', async () => (await group.namedPort()) !== before.port)
        await group.primary()
      },
      observe: async () => [await (await group.primary()).observe()],
      stop: () => group.stop(),
    }
  }
  return { name: `Sentinel: ${name}`, endsByItself: true, prepare }
}

export const sentinelFaults: Fault[] = [
  failover('primary killed', (primary) => primary.kill()),
  failover('primary stands still', (primary) => primary.pause()),
  failover('failover by hand', async (_primary, _replica, group) => {
    const sentinel = await group.sentinels[0]?.observe()
    await eventually('the sentinels take the order', async () => {
      const answer = await sentinel?.sendCommand(['SENTINEL', 'FAILOVER', PRIMARY_NAME]).catch(() => null)
      return String(answer) === 'OK'
    })
  }),
  failover('primary killed whose last second the replica had not heard', async (primary, replica) => {
    const observer = await replica.observe()
    await goUnheard(observer)
    await primary.kill()
    await mendReplication(observer)
  }),
]
