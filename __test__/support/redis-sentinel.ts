import { eventually } from './eventually.ts'
import { RedisServer } from './redis-server.ts'

export const PRIMARY_NAME = 'mizan'
const SENTINELS = 3

/** A real Sentinel group on loopback: a primary, a replica, and three sentinels of which two must agree. */
export class RedisSentinelGroup {
  readonly servers: RedisServer[] = []
  readonly sentinels: RedisServer[] = []

  static async start(): Promise<RedisSentinelGroup> {
    const group = new RedisSentinelGroup()
    try {
      await group.#start()
      return group
    } catch (error) {
      await group.stop()
      throw error
    }
  }

  get urls(): string[] {
    return this.sentinels.map((sentinel) => sentinel.url)
  }

  /** The server that the sentinels call the primary, once it says so itself. */
  async primary(): Promise<RedisServer> {
    let primary: RedisServer | undefined
    await eventually('the sentinels name a primary that is one', async () => {
      const port = await this.namedPort()
      primary = this.servers.find((server) => server.port === port && server.isRunning)
      if (primary === undefined) {
        return false
      }
      const role = await (await primary.observe()).role()
      return role?.role === 'master'
    })
    return primary as RedisServer
  }

  async stop(): Promise<void> {
    await Promise.all([...this.sentinels, ...this.servers].map((server) => server.stop()))
  }

  async #start(): Promise<void> {
    const primary = await RedisServer.start()
    this.servers.push(primary)
    const config = [`replicaof 127.0.0.1 ${primary.port}`]
    this.servers.push(await RedisServer.start({ config }))
    for (let count = 0; count < SENTINELS; count += 1) {
      const config = [
        `sentinel monitor ${PRIMARY_NAME} 127.0.0.1 ${primary.port} 2`,
        `sentinel down-after-milliseconds ${PRIMARY_NAME} 1000`,
        `sentinel failover-timeout ${PRIMARY_NAME} 2000`,
      ]
      this.sentinels.push(await RedisServer.start({ sentinel: true, config }))
    }
    await Promise.all(this.sentinels.map((sentinel) => this.#knowsEveryone(sentinel)))
  }

  async #knowsEveryone(sentinel: RedisServer): Promise<void> {
    const observer = await sentinel.observe()
    await eventually('the sentinel knows the replica and the other sentinels', async () => {
      const fields = (await observer.sendCommand(['SENTINEL', 'MASTER', PRIMARY_NAME])) as string[]
      const read = (name: string) => Number(fields[fields.indexOf(name) + 1])
      return read('num-slaves') === 1 && read('num-other-sentinels') === SENTINELS - 1
    })
  }

  /** The port of the server that the sentinels call the primary, whatever that server says. */
  async namedPort(): Promise<number> {
    const observer = await (this.sentinels[0] as RedisServer).observe()
    const address = (await observer.sendCommand(['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', PRIMARY_NAME])) as string[]
    return Number(address[1])
  }
}
