import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { CacheOptions } from '../../cache/index.ts'

const PROGRAM = fileURLToPath(new URL('load-program.ts', import.meta.url))

/** What the load met from the beginning of the fault to its own end. */
export interface Measured {
  /** Calls of the cache. */
  calls: number
  /** Requests, each a read through the cache or a mutation with its purge. */
  requests: number
  /** Requests that ended in an error. */
  failed: number
  /** Reads that began after a purge and were given what was there before it. */
  stale: number
  /** In milliseconds, as all times here. A broad purge is many commands, and is not among the calls. */
  longestCall: number
  longestWithOpenCircuit: number
  longestBroadPurge: number
  /** For how long at most the process itself, and so every call in it, stood. */
  longestPause: number
  purges: number
  deferredPurges: number
  /** From the end of the fault to the first value that was stored. */
  storedAgainAfter: number
  /** Most resident memory during the fault beyond the most before it, in bytes. */
  memoryGrowth: number
}

/** What Redis must look like once the load is over and every purge delivered. */
export interface Expectation {
  /** Keys that were purged and never stored again. */
  gone: string[]
  /** The least number that may stand at a key, if anything does. */
  atLeast: [key: string, number: number][]
}

/** The calls of the load's process, in the order in which they are made. */
export interface LoadCalls {
  /** Stores what is purged later, and begins. */
  start(): Promise<void>
  faultBegins(): Promise<void>
  faultIsOver(): Promise<void>
  /** Ends the load, and waits until Redis has every purge. */
  finish(): Promise<Measured & Expectation>
}

/** A process that puts a load on a cache of its own. */
export class Load implements LoadCalls {
  readonly #process: ChildProcess

  constructor(options: Partial<CacheOptions>, heavy: boolean) {
    this.#process = fork(PROGRAM, [JSON.stringify(options), String(heavy)], { execArgv: ['--import', 'tsx'] })
  }

  start = () => this.#call('start')
  faultBegins = () => this.#call('faultBegins')
  faultIsOver = () => this.#call('faultIsOver')
  finish = () => this.#call('finish')

  stop(): void {
    this.#process.kill('SIGKILL')
  }

  #call<Name extends keyof LoadCalls>(name: Name): ReturnType<LoadCalls[Name]> {
    const answer = new Promise((resolve, reject) => {
      const ended = () => reject(new Error(`the load's process ended during ${name}`))
      this.#process.once('exit', ended)
      this.#process.once('message', (message) => {
        this.#process.off('exit', ended)
        resolve(message)
      })
    })
    this.#process.send(name)
    return answer as ReturnType<LoadCalls[Name]>
  }
}
