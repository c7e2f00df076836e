/** Faults of a cluster of three primaries, each with a replica. */

import { eventually } from '../support/eventually.ts'
import { RedisCluster } from '../support/redis-cluster.ts'
import { mendReplication } from '../support/redis-replication.ts'
import type { Observer, RedisServer } from '../support/redis-server.ts'
import { startMovingSlots } from '../support/redis-slots.ts'
import type { Fault, Scene } from './fault.ts'
import { goUnheard } from './unheard.ts'

interface Node {
  server: RedisServer
  observer: Observer
}

type Trouble = (cluster: RedisCluster, primary: Node, replica: Node) => Pick<Scene, 'begin' | 'end'>

async function scene(trouble: Trouble): Promise<Scene> {
  const cluster = await RedisCluster.start()
  const [primary] = (await cluster.primaries()) as [Node]
  const replica = await cluster.replicaOf(primary.server)
  return {
    options: { cluster: cluster.urls },
    ...trouble(cluster, primary, replica),
    observe: async () => (await cluster.primaries()).map(({ observer }) => observer),
    stop: () => cluster.stop(),
  }
}

/** Something that ends with the replica being the primary. */
function failover(name: string, begin: (primary: Node, replica: Node) => Promise<unknown>): Fault {
  const prepare = () =>
    scene((_cluster, primary, replica) => ({
      begin: async () => {
        await begin(primary, replica)
      },
      end: () => eventually('the replica serves', () => servesAsPrimary(replica.observer)),
    }))
  return { name: `Cluster: ${name}`, endsByItself: true, prepare }
}

async function servesAsPrimary(observer: Observer): Promise<boolean> {
  const role = await observer.role()
  return role?.role === 'master' && (await observer.clusterInfo()).includes('cluster_state:ok')
}

export const clusterFaults: Fault[] = [
  failover('a primary killed', (primary) => primary.server.kill()),
  failover('failover by hand', (_primary, replica) => replica.observer.sendCommand(['CLUSTER', 'FAILOVER'])),
  failover('a primary killed whose last second the replica had not heard', async (primary, replica) => {
    await goUnheard(replica.observer)
    await primary.server.kill()
    await mendReplication(replica.observer)
  }),
  failover('taken over by a replica that had not heard the last second', async (_primary, replica) => {
    await goUnheard(replica.observer)
    await replica.observer.sendCommand(['CLUSTER', 'FAILOVER', 'TAKEOVER'])
    await mendReplication(replica.observer)
  }),
  {
    name: 'Cluster: a primary stands still',
    endsByItself: true,
    prepare: () =>
      scene((_cluster, primary, replica) => ({
        begin: () => primary.server.pause(),
        end: async () => {
          await eventually('the replica serves', () => servesAsPrimary(replica.observer))
          primary.server.resume()
        },
      })),
  },
  {
    name: 'Cluster: a primary and its replica killed, come back empty',
    prepare: () =>
      scene((cluster, primary, replica) => ({
        begin: async () => {
          await Promise.all([primary.server.kill(), replica.server.kill()])
        },
        end: async () => {
          await Promise.all([primary.server.restart(), replica.server.restart()])
          await cluster.settled()
        },
      })),
  },
  {
    name: 'Cluster: slots move back and forth',
    prepare: () =>
      scene((cluster) => {
        let mover: Awaited<ReturnType<typeof startMovingSlots>>
        return {
          begin: async () => {
            mover = await startMovingSlots(await cluster.primaries())
          },
          end: async () => {
            await mover.stop()
          },
        }
      }),
  },
]
