/** A cache as the scripts see it. All keep their entries on Redis, and nothing in their own memory. */

export type Load = () => Promise<string>

export interface Peer {
  /** What is stored under the name, or what the load makes. */
  getOrLoad(name: string, load: Load): Promise<string>
  purge(name: string): Promise<unknown>
  /** Deletes every entry of its namespace; absent where the library has no such call. */
  purgeAll?(): Promise<unknown>
  close(): Promise<unknown>
}

export interface PeerOptions {
  redisUrl?: string
  /** URLs of a cluster's nodes. */
  cluster?: string[]
  namespace: string
  /** For libraries that have such an option, or are given a client that has. */
  commandTimeoutMs: number
}

export type Open = (options: PeerOptions) => Promise<Peer>

export const CONNECT_TIMEOUT_MS = 1_000
/** How long a client that can waits before it gives up a connection on which nothing moves. */
export const socketTimeout = ({ commandTimeoutMs }: PeerOptions) => 10 * commandTimeoutMs

export const hostAndPort = (url: string) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) })
