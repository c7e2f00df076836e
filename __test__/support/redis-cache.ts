import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { Cache, type CacheOptions } from '../../cache/index.ts'

export const SECRET = 'a secret of the tests, 32 bytes or more'

const PROGRAM = fileURLToPath(new URL('cache-process.mjs', import.meta.url))

/** What tests call on a cache, whether it lives in this process or in another. */
export type CacheCalls = Pick<Cache, 'get' | 'lookup' | 'put' | 'purge' | 'clear' | 'close'>

/**
 * A cache that is closed when the test is over. Unless asked for it keeps no copies of what is in Redis: most tests look
 * at Redis itself, or at what holds for several processes at once.
 */
export function openCache(options: Partial<CacheOptions> = {}): Cache {
  const cache = new Cache({ secret: SECRET, local: false, ...options })
  onTestFinished(() => cache.close())
  return cache
}

/** As {@link openCache}, in a process of its own, which ends when the test is over. */
export async function openCacheInProcess(
  options: Partial<CacheOptions>,
  environment: NodeJS.ProcessEnv = {},
): Promise<CacheCalls> {
  const child = fork(PROGRAM, [JSON.stringify({ secret: SECRET, local: false, ...options })], {
    env: { ...process.env, ...environment },
    serialization: 'advanced',
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const calls = new Calls(child)
  await calls.ready
  const call =
    (method: keyof CacheCalls) =>
    (...args: unknown[]) =>
      calls.send(method, args)
  return {
    get: call('get'),
    lookup: call('lookup'),
    put: call('put'),
    purge: call('purge'),
    clear: call('clear'),
    close: call('close'),
  } as CacheCalls
}

interface Answer {
  id: number
  result?: unknown
  error?: string
}

class Calls {
  readonly ready: Promise<unknown>
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>()
  #lastId = -1

  constructor(child: ChildProcess) {
    this.#child = child
    this.ready = this.#wait()
    child.on('message', (answer) => this.#settle(answer as Answer))
    child.on('exit', (code, signal) => {
      for (const call of this.#waiting.values()) {
        call.reject(new Error(`the cache's process ended: ${signal ?? code}`))
      }
    })
  }

  send(method: string, args: unknown[]): Promise<unknown> {
    const result = this.#wait()
    this.#child.send({ id: this.#lastId, method, args })
    return result
  }

  #wait(): Promise<unknown> {
    this.#lastId += 1
    return new Promise((resolve, reject) => {
      this.#waiting.set(this.#lastId, { resolve, reject })
    })
  }

  #settle({ id, result, error }: Answer): void {
    const call = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) {
      call?.resolve(result)
    } else {
      call?.reject(new Error(error))
    }
  }
}
