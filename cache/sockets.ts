/**
 * The sockets of one cache in one thread, and all else that its engine needs of the event loop.
 *
 * What arrives is handed to the engine where it was read to, and what the engine gives back is written. While no call is
 * in flight nothing here keeps the process alive.
 */

import { createRequire } from 'node:module'
import type { Socket, TcpNetConnectOpts } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { pick } from '../common/pick.ts'
import { type CoreEvent, report } from './diagnostics.ts'
import type { CacheOperations, Settle } from './native.ts'
import type { PendingCalls } from './pending-calls.ts'
import { afterPoll, startTimer, stopTimer } from './scheduling.ts'

/** How servers are verified, and how this client shows who it is. */
export interface TlsOptions {
  /** Authorities to trust instead of the system's, in PEM. */
  ca?: string | Uint8Array | (string | Uint8Array)[] | undefined
  /** The certificate that this client shows, in PEM. */
  cert?: string | Uint8Array | undefined
  /** The private key of that certificate, in PEM. */
  key?: string | Uint8Array | undefined
  /** The name to find in the server's certificate instead of the host's. */
  servername?: string | undefined
}

/** Who asks, for one connection. */
export interface Credentials {
  /** The user; the default user if it is missing. */
  username?: string | undefined
  password: string
}

/** What sockets are opened with. */
export interface SocketOptions {
  tls: TlsOptions | undefined
  credentials: (() => Credentials | Promise<Credentials>) | undefined
}

/**
 * Where all sockets of this thread read into: the engine takes what arrived before the next read. It has room for a batch of
 * values of 1 KB, so that most values are copied but once, into their strings.
 */
const buffer = new Uint8Array(262_144)

/** So many answers are settled together, and what a turn on a cluster sends has so many parts. More is possible. */
const ANSWERS_TOGETHER = 256
const EFFECT_PARTS = 512
/** The longest time that a timer can have. */
const LONGEST_TIMER = 2_147_483_647

const TLS_NAMES = ['ca', 'cert', 'key', 'servername'] as const

// Loaded with the first connection: they take as long to load as all the rest of the package.
const load = createRequire(import.meta.url)
const net = () => load('node:net') as typeof import('node:net')
const tls = () => load('node:tls') as typeof import('node:tls')

type Wake = ReturnType<typeof startTimer>

export class Sockets {
  readonly #operations: CacheOperations
  readonly #calls: PendingCalls
  #options: SocketOptions
  readonly #sockets = new Map<number, Socket>()
  readonly #tags = new Int32Array(ANSWERS_TOGETHER)
  readonly #settle: Settle
  readonly #effects: unknown[] = new Array(EFFECT_PARTS).fill(undefined)
  #wake: Wake | undefined
  #isHeld = false
  #holder: Wake | undefined
  #isAbandoned = false

  constructor(operations: CacheOperations, calls: PendingCalls, options: SocketOptions) {
    this.#operations = operations
    this.#calls = calls
    this.#settle = calls.settle.bind(calls, this.#tags)
    this.#options = options
  }

  /** Sends what was asked for since the last time. */
  flush(): void {
    this.#take(this.#operations.flush(this.#settle, this.#tags, this.#effects))
  }

  /** Ends the engine; the call of this number is answered once it has ended. */
  close(number: number): void {
    this.#take(this.#operations.close(number, this.#settle, this.#tags, this.#effects))
  }

  /** Takes what later connections are made with. */
  connectBy(options: SocketOptions): void {
    this.#options = options
  }

  /** Stops all timers: the engine has ended. */
  rest(): void {
    stopTimer(this.#wake)
    stopTimer(this.#holder)
    this.#wake = undefined
    this.#holder = undefined
    this.#isHeld = false
  }

  /** Nobody holds the cache any more: its connections go as soon as no purge is pending. */
  abandon(): void {
    this.#isAbandoned = true
    this.#endIfAbandoned()
  }

  /**
   * Sees that the process lives while calls are in flight: by a timer that does nothing else, since sockets and the wake-up
   * never keep it alive. There are many of them, and this costs the same for each turn.
   */
  hold(): void {
    const isNeeded = this.#calls.count > 0
    if (isNeeded !== this.#isHeld) {
      this.#isHeld = isNeeded
      this.#holder ??= startTimer(() => {}, LONGEST_TIMER)
      if (isNeeded) {
        this.#holder.ref()
      } else {
        this.#holder.unref()
      }
    }
  }

  /** Does what a call of the engine came to. */
  #take(parts: number): void {
    if (parts > 0) {
      this.#apply(parts)
    }
    this.hold()
    if (this.#isAbandoned) {
      this.#endIfAbandoned()
    }
  }

  #apply(parts: number): void {
    // Of their own: what follows may call the engine again.
    const effects = this.#effects.slice(0, parts)
    if (this.#effects.length > EFFECT_PARTS) {
      this.#effects.length = EFFECT_PARTS
    }
    for (let at = 0; at < effects.length; ) {
      switch (effects[at]) {
        case 'open':
          this.#open(effects[at + 1] as number, effects[at + 2] as string, effects[at + 3] as number | null, {
            isTls: effects[at + 4] as boolean,
          })
          at += 5
          break
        case 'send':
          this.#send(effects[at + 1] as number, effects[at + 2] as string | Uint8Array)
          at += 3
          break
        case 'close':
          this.#destroy(effects[at + 1] as number)
          at += 2
          break
        case 'wake':
          this.#wakeIn(effects[at + 1] as number)
          at += 2
          break
        case 'event':
          report(effects[at + 1] as CoreEvent[0], effects[at + 2] as CoreEvent[1])
          at += 3
          break
        default:
          // The engine panicked, and is a new one that knows none of these.
          for (const connection of [...this.#sockets.keys()]) {
            this.#destroy(connection)
          }
          at += 1
      }
    }
  }

  #open(connection: number, host: string, port: number | null, { isTls }: { isTls: boolean }): void {
    const asked = this.#operations.asksForCredentials ? this.#askForCredentials() : undefined
    const onread = {
      buffer,
      callback: (length: number) => {
        this.#take(this.#operations.received(connection, buffer, length, this.#settle, this.#tags, this.#effects))
        return true
      },
    }
    let socket: Socket
    try {
      socket =
        port === null
          ? net().connect({ path: host, onread })
          : isTls
            ? this.#openTls(host, port, onread)
            : net().connect({ host, port, noDelay: true, onread })
    } catch (error) {
      // Certificates that cannot be read.
      afterPoll(() => this.#tellClosed(connection, reasonOf(error)))
      return
    }
    this.#sockets.set(connection, socket)
    let failure: unknown
    socket.on(isTls && port !== null ? 'secureConnect' : 'connect', () => {
      // Where a runtime does not end attempts that are destroyed.
      if (this.#sockets.get(connection) !== socket) {
        socket.destroy()
        return
      }
      void this.#greet(connection, asked)
    })
    socket.on('error', (error) => {
      failure = error
    })
    socket.on('close', () => this.#lose(connection, reasonOf(failure)))
    socket.on('end', () => socket.destroy())
    socket.unref()
  }

  #openTls(host: string, port: number, onread: TcpNetConnectOpts['onread']): Socket {
    const { ca, cert, key, servername } = pick(this.#options.tls ?? {}, TLS_NAMES)
    const options: ConnectionOptions & Pick<TcpNetConnectOpts, 'onread' | 'noDelay'> = { host, port, onread }
    const name = servername ?? (net().isIP(host) === 0 ? host : undefined)
    if (name !== undefined) options.servername = name
    if (ca !== undefined) options.ca = Array.isArray(ca) ? ca.map(toBuffer) : toBuffer(ca)
    if (cert !== undefined) options.cert = toBuffer(cert)
    if (key !== undefined) options.key = toBuffer(key)
    return tls().connect(options).setNoDelay(true)
  }

  async #askForCredentials(): Promise<Credentials | undefined> {
    try {
      const given = await this.#options.credentials?.()
      const { username, password } = pick(given as Credentials, ['username', 'password'])
      const isWord = (word: unknown) => typeof word === 'string'
      return isWord(password) && (username === undefined || isWord(username)) ? { username, password } : undefined
    } catch {
      return undefined
    }
  }

  async #greet(connection: number, asked: Promise<Credentials | undefined> | undefined): Promise<void> {
    let given: Credentials | undefined
    if (asked !== undefined) {
      given = await asked
      if (!this.#sockets.has(connection)) {
        return
      }
      if (given === undefined) {
        this.#destroy(connection)
        this.#tellClosed(connection, 'credentials')
        return
      }
    }
    const [username, password] = given === undefined ? [null, null] : [given.username ?? null, given.password]
    this.#take(this.#operations.opened(connection, username, password, this.#settle, this.#tags, this.#effects))
  }

  #send(connection: number, data: string | Uint8Array): void {
    const socket = this.#sockets.get(connection)
    if (typeof data === 'string') {
      socket?.write(data, 'latin1')
    } else {
      socket?.write(data)
    }
  }

  #destroy(connection: number): void {
    const socket = this.#sockets.get(connection)
    this.#sockets.delete(connection)
    socket?.destroy()
  }

  #lose(connection: number, reason: string): void {
    if (this.#sockets.delete(connection)) {
      this.#tellClosed(connection, reason)
    }
  }

  #tellClosed(connection: number, reason: string): void {
    this.#take(this.#operations.closed(connection, reason, this.#settle, this.#tags, this.#effects))
  }

  #wakeIn(milliseconds: number): void {
    stopTimer(this.#wake)
    this.#wake = startTimer(() => {
      this.#wake = undefined
      // What arrived while the process was busy is read first: deadlines are judged after it.
      afterPoll(() => this.#take(this.#operations.tick(this.#settle, this.#tags, this.#effects)))
    }, milliseconds)
    this.#wake.unref()
  }

  #endIfAbandoned(): void {
    if (this.#operations.isIdle()) {
      this.#isAbandoned = false
      const number = this.#calls.next()
      this.#calls.add(number, () => afterPoll(() => this.rest()))
      this.close(number)
    }
  }
}

function toBuffer(pem: string | Uint8Array): string | Buffer {
  return typeof pem === 'string' ? pem : Buffer.from(pem)
}

/** Errors that say that nothing listens there. */
const REFUSED = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'ENOTFOUND',
  'EACCES',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
])
const CERTIFICATE = /CERT|TLS|SSL|SELF_SIGNED|UNABLE_TO|ERR_OSSL/

function reasonOf(error: unknown): 'refused' | 'certificate' | 'broken' {
  const code = String((error as { code?: unknown } | undefined)?.code ?? '')
  if (REFUSED.has(code)) {
    return 'refused'
  }
  return CERTIFICATE.test(code) ? 'certificate' : 'broken'
}
