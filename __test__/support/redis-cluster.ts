import { eventually } from './eventually.ts'
import { type Observer, RedisServer } from './redis-server.ts'

const SLOTS = 16_384
const PRIMARIES = 3

/** A real cluster on loopback: three primaries, each with a replica. */
export class RedisCluster {
  readonly nodes: RedisServer[]

  private constructor(nodes: RedisServer[]) {
    this.nodes = nodes
  }

  static async start(): Promise<RedisCluster> {
    const config = [
      'cluster-node-timeout 2000',
      'cluster-replica-validity-factor 0',
      'repl-diskless-sync-delay 0',
      'enable-debug-command local',
    ]
    const starting = Array.from({ length: 2 * PRIMARIES }, () => RedisServer.start({ clusterNode: true, config }))
    const started = await Promise.allSettled(starting)
    const nodes = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    const cluster = new RedisCluster(nodes)
    try {
      await Promise.all(starting)
      await cluster.#join()
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  get urls(): string[] {
    return this.nodes.map((node) => node.url)
  }

  /** The nodes that run and say that they are primaries. */
  async primaries(): Promise<{ server: RedisServer; observer: Observer }[]> {
    const running = this.nodes.filter((node) => node.isRunning)
    const asked = running.map(async (server) => {
      const observer = await server.observe()
      return { server, observer, role: await observer.role() }
    })
    return (await Promise.all(asked)).filter(({ role }) => role?.role === 'master')
  }

  /** A replica that follows this primary. */
  async replicaOf(primary: RedisServer): Promise<{ server: RedisServer; observer: Observer }> {
    for (const server of this.nodes.filter((node) => node.isRunning && node !== primary)) {
      const observer = await server.observe()
      const role = await observer.role()
      if (role?.role === 'slave' && role.master.port === primary.port) {
        return { server, observer }
      }
    }
    throw new Error(`nobody follows ${primary.url}`)
  }

  /** The primary that has the key. */
  async primaryOf(key: string): Promise<{ server: RedisServer; observer: Observer }> {
    for (const primary of await this.primaries()) {
      const owned = await primary.observer.exists(key).then(
        () => true,
        // MOVED
        () => false,
      )
      if (owned) {
        return primary
      }
    }
    throw new Error(`no primary has ${key}`)
  }

  /** Has every node run, also one that a test has left standing still or killed, and waits until they agree. */
  async heal(): Promise<void> {
    await Promise.all(this.nodes.map((node) => (node.isRunning ? node.resume() : node.restart())))
    await this.settled()
  }

  async flush(): Promise<void> {
    await Promise.all((await this.primaries()).map(({ observer }) => observer.flushAll()))
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()))
  }

  async #join(): Promise<void> {
    const observers = await Promise.all(this.nodes.map((node) => node.observe()))
    const [first, ...others] = observers
    for (const [index, observer] of observers.entries()) {
      await observer.sendCommand(['CLUSTER', 'SET-CONFIG-EPOCH', `${index + 1}`])
    }
    for (const index of others.keys()) {
      const { port, busPort } = this.nodes[index + 1] as RedisServer
      await first?.sendCommand(['CLUSTER', 'MEET', '127.0.0.1', `${port}`, `${busPort}`])
    }
    await eventually('every node knows every other', async () => {
      const known = await Promise.all(observers.map((observer) => observer.clusterInfo()))
      return known.every((info) => info.includes(`cluster_known_nodes:${this.nodes.length}`))
    })
    const primaries = observers.slice(0, PRIMARIES)
    for (const [index, observer] of primaries.entries()) {
      const start = Math.ceil((SLOTS * index) / PRIMARIES)
      const end = Math.ceil((SLOTS * (index + 1)) / PRIMARIES) - 1
      await observer.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', `${start}`, `${end}`])
    }
    for (const [index, observer] of primaries.entries()) {
      const id = await observer.clusterMyId()
      await observers[PRIMARIES + index]?.clusterReplicate(id)
    }
    await this.settled()
  }

  /** Waits until every running node calls the cluster whole and every replica follows its primary. */
  async settled(): Promise<void> {
    const observers = await Promise.all(this.nodes.filter((node) => node.isRunning).map((node) => node.observe()))
    await eventually('the cluster is whole', async () => {
      const states = observers.map(async (observer) => {
        const cluster = await observer.clusterInfo()
        const replication = await observer.info('replication')
        return cluster.includes('cluster_state:ok') && !replication.includes('master_link_status:down')
      })
      return (await Promise.all(states)).every((settled) => settled)
    })
    await eventually('there are three primaries', async () => {
      const roles = await Promise.all(observers.map((observer) => observer.role()))
      return roles.filter((each) => each?.role === 'master').length === PRIMARIES
    })
  }
}
