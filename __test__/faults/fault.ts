import type { CacheOptions } from '../../cache/index.ts'
import type { Observer } from '../support/redis-server.ts'

/** Real servers, and how to make trouble for a cache on them. */
export interface Scene {
  options: Partial<CacheOptions>
  /** Resolves once the fault is there. */
  begin(): Promise<void>
  /** Resolves once Redis could answer again. */
  end(): Promise<void>
  /** Connections to every primary of this moment, past all trouble. */
  observe(): Promise<Observer[]>
  stop(): Promise<void>
}

export interface Fault {
  name: string
  /** Values of 50 KB, written as fast as the cache takes them. */
  heavyLoad?: boolean
  /** Redis ends it by itself, as a failover; otherwise it lasts for the campaign's time. */
  endsByItself?: boolean
  prepare(): Promise<Scene>
}
