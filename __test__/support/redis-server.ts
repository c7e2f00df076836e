/** Real Redis servers, each on a port and in a directory of its own, gone with the test process however that ends. */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createClient, RESP_TYPES, type RedisClientOptions } from '@redis/client'
import { findRedisServer } from '../../scripts/redis-server.mjs'
import { eventually } from './eventually.ts'
import type { Certificates } from './redis-certificates.ts'

const run = promisify(execFile)

/** Reads the process id of the server from its input, and kills it when that input ends. Lines: the newest counts. */
const WATCHDOG = 'while read -r line; do server=$line; done; kill -KILL $server; rm -rf "$0"'

/** How an observer's connections tell themselves from those of the cache. */
const OBSERVER = 'observer'

export interface RedisServerOptions {
  /** Lines of redis.conf. */
  config?: string[]
  /** Listens on a unix socket and on no port. */
  unixSocket?: boolean
  /** Listens with TLS only. */
  certificates?: Certificates
  /** Every write is on disk before it is answered, so that `restart` brings the data back. */
  persistent?: boolean
  /** Runs as a sentinel. */
  sentinel?: boolean
  /** Runs as a node of a cluster. */
  clusterNode?: boolean
}

export type Observer = Awaited<ReturnType<typeof connectObserver>>

export class RedisServer {
  readonly port: number
  /** Where nodes of a cluster talk to each other. */
  readonly busPort: number
  readonly #options: RedisServerOptions
  readonly #directory: string
  readonly #binary: string
  readonly #watchdog: ChildProcess
  readonly #observers: { destroy(): void }[] = []
  #server: ChildProcess | undefined
  #log = ''

  private constructor(options: RedisServerOptions, ports: [number, number], directory: string, binary: string) {
    ;[this.port, this.busPort] = ports
    this.#options = options
    this.#directory = directory
    this.#binary = binary
    // In a session of its own: a Ctrl-C that ends the tests must not end it first.
    this.#watchdog = spawn('sh', ['-c', WATCHDOG, directory], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  }

  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const binary = await findRedisServer()
    for (let attempt = 1; ; attempt += 1) {
      const ports: [number, number] = [await findFreePort(), await findFreePort()]
      const directory = await mkdtemp(join(tmpdir(), 'mizan-redis-'))
      const server = new RedisServer(options, ports, directory, binary)
      try {
        await writeFile(server.#path('redis.conf'), server.#configuration().join('\n'))
        await server.#launch()
        return server
      } catch (error) {
        await server.stop()
        // Somebody else took the port meanwhile.
        if (attempt === 5 || !server.#log.includes('Address already in use')) {
          throw error
        }
      }
    }
  }

  get url(): string {
    if (this.#options.unixSocket) {
      return `unix://${this.#path('redis.sock')}`
    }
    return `${this.#options.certificates ? 'rediss' : 'redis'}://127.0.0.1:${this.port}`
  }

  get isRunning(): boolean {
    return this.#server !== undefined && this.#server.exitCode === null && this.#server.signalCode === null
  }

  get processId(): number {
    if (this.#server?.pid === undefined) {
      throw new Error('the server does not run')
    }
    return this.#server.pid
  }

  /** A connection of an independent client. It goes with the server. */
  async observe(credentials: { username?: string; password?: string; database?: number } = {}): Promise<Observer> {
    const observer = await connectObserver({ ...credentials, socket: this.#socket() })
    this.#observers.push(observer)
    return observer
  }

  /** The process stands still: its connections stay open, and nothing is answered. */
  async pause(): Promise<void> {
    process.kill(this.processId, 'SIGSTOP')
    await eventually('the server stands still', async () => {
      const { stdout } = await run('ps', ['-o', 'stat=', '-p', `${this.processId}`])
      return stdout.startsWith('T')
    })
  }

  resume(): void {
    process.kill(this.processId, 'SIGCONT')
  }

  /** Ends the process at once; nothing listens on its port from then on. */
  async kill(): Promise<void> {
    if (this.#server !== undefined && this.isRunning) {
      const gone = once(this.#server, 'exit')
      this.#server.kill('SIGKILL')
      await gone
    }
  }

  /** Starts it again on the same port. What it held is there again only if it is `persistent`. */
  async restart(): Promise<void> {
    await this.kill()
    await this.#launch()
  }

  async stop(): Promise<void> {
    for (const observer of this.#observers) {
      observer.destroy()
    }
    await this.kill()
    const gone = once(this.#watchdog, 'exit')
    this.#watchdog.stdin?.end()
    await gone
  }

  #socket(): NonNullable<RedisClientOptions['socket']> {
    const { unixSocket, certificates } = this.#options
    if (unixSocket) {
      return { path: this.#path('redis.sock'), tls: false, reconnectStrategy: false }
    }
    const address = { host: '127.0.0.1', port: this.port, reconnectStrategy: false } as const
    return certificates ? { ...address, tls: true, ca: certificates.authority } : address
  }

  #path(name: string): string {
    return join(this.#directory, name)
  }

  #configuration(): string[] {
    const { config = [], unixSocket, certificates, persistent, clusterNode } = this.#options
    const common = ['bind 127.0.0.1', `dir ${this.#directory}`, ...config]
    if (this.#options.sentinel) {
      return [`port ${this.port}`, ...common]
    }
    return [
      ...(unixSocket ? ['port 0', `unixsocket ${this.#path('redis.sock')}`] : []),
      ...(certificates
        ? [
            'port 0',
            `tls-port ${this.port}`,
            `tls-cert-file ${certificates.serverCertificateFile}`,
            `tls-key-file ${certificates.serverKeyFile}`,
            'tls-auth-clients no',
          ]
        : []),
      ...(unixSocket || certificates ? [] : [`port ${this.port}`]),
      ...(clusterNode ? ['cluster-enabled yes', `cluster-port ${this.busPort}`] : []),
      ...(persistent ? ['appendonly yes', 'appendfsync always'] : []),
      'save ""',
      ...common,
    ]
  }

  async #launch(): Promise<void> {
    this.#log = ''
    const mode = this.#options.sentinel ? ['--sentinel'] : []
    const server = spawn(this.#binary, [this.#path('redis.conf'), ...mode], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#server = server
    this.#watchdog.stdin?.write(`${server.pid}\n`)
    // The id may belong to another process from now on.
    server.once('exit', () => this.#watchdog.stdin?.write('\n'))
    for (const stream of [server.stdout, server.stderr]) {
      stream.on('data', (text) => {
        this.#log += text
      })
    }
    await eventually(`redis-server is ready\n${this.#log}`, () => {
      if (server.exitCode !== null) {
        throw new Error(`redis-server ended:\n${this.#log}`)
      }
      return /ready to accept connections|sentinel ID is/i.test(this.#log)
    })
  }
}

async function connectObserver(options: Pick<RedisClientOptions, 'username' | 'password' | 'database' | 'socket'>) {
  const client = createClient({ ...options, RESP: 2, name: OBSERVER, disableOfflineQueue: true })
  // A server that the test kills takes the observer's connection with it.
  client.on('error', () => {})
  await client.connect()
  return client
}

/** The same connection, giving bytes for what Redis holds as bytes. */
export function inBytes(observer: Observer) {
  return observer.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
}

/** How many connections the server has that are not observers'. */
export async function countConnections(observer: Observer): Promise<number> {
  const clients = await observer.clientList()
  return clients.filter((client) => client.name !== OBSERVER).length
}

/** How often the server ran a command since it began, or since CONFIG RESETSTAT. */
export async function countCalls(observer: Observer, command: string): Promise<number> {
  const statistics = await observer.info('commandstats')
  const calls = new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(statistics)
  return Number(calls?.[1] ?? 0)
}

/** A port on which nothing listens. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    // Below the range from which outgoing connections take theirs, so that a server that is down keeps its port.
    const port = 12_000 + Math.floor(Math.random() * 20_000)
    if (await isFree(port)) {
      return port
    }
  }
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer()
  return await new Promise((resolve) => {
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}
