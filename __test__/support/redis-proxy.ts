import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { RedisServer } from './redis-server.ts'

/** What becomes of bytes on their way. `cut` ends the connection. */
export type Treatment = (bytes: Buffer, forward: (bytes: Buffer) => void, cut: () => void) => void | Promise<void>

export const pass: Treatment = (bytes, forward) => forward(bytes)

/** The bytes vanish, and nobody is told. */
export const swallow: Treatment = () => {}

/** They arrive late, in order. */
export const delay =
  (milliseconds: number): Treatment =>
  async (bytes, forward) => {
    await pause(milliseconds)
    forward(bytes)
  }

/** The first half arrives, and the connection ends. */
export const truncate: Treatment = (bytes, forward, cut) => {
  forward(bytes.subarray(0, bytes.length / 2))
  cut()
}

/** As many other bytes arrive. */
export const garble: Treatment = (bytes, forward) => forward(randomBytes(bytes.length))

/** A network between a cache and its Redis, on loopback, that can be made a bad one. */
export class RedisProxy {
  toServer: Treatment = pass
  toClient: Treatment = pass
  readonly #listener: Server
  readonly #connections = new Set<Socket>()

  private constructor(target: RedisServer) {
    this.#listener = createServer((client) => this.#accept(client, target.port))
  }

  static async start(target: RedisServer): Promise<RedisProxy> {
    const proxy = new RedisProxy(target)
    proxy.#listener.listen(0, '127.0.0.1')
    await once(proxy.#listener, 'listening')
    return proxy
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#listener.address() as AddressInfo).port}`
  }

  /** Cuts the connections of this moment. */
  cut(): void {
    for (const connection of this.#connections) {
      connection.destroy()
    }
  }

  async stop(): Promise<void> {
    this.cut()
    this.#listener.close()
    await once(this.#listener, 'close')
  }

  #accept(client: Socket, port: number): void {
    const server = connect(port, '127.0.0.1')
    const cut = () => {
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) {
      this.#connections.add(socket)
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#connections.delete(socket)
        cut()
      })
    }
    this.#carry(client, server, () => this.toServer, cut)
    this.#carry(server, client, () => this.toClient, cut)
  }

  #carry(from: Socket, to: Socket, treatment: () => Treatment, cut: () => void): void {
    let arrived = Promise.resolve()
    let isBroken = false
    from.on('data', (bytes) => {
      const treat = treatment()
      // What lost bytes once carries nothing sensible any more, also after the network is well again.
      isBroken ||= treat === swallow
      if (!isBroken) {
        const earlier = arrived
        const sent = treat(
          bytes,
          (treated) => void earlier.then(() => to.write(treated)),
          () => void to.end(cut),
        )
        arrived = Promise.all([earlier, sent]).then(() => {})
      }
    })
  }
}
