/** A server in a process of its own, which tells where it listens and what processor time it has used. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export class ServerProcess {
  readonly name: string
  readonly #process: ChildProcess
  readonly #ended: Promise<unknown>
  /** Where it listens. */
  origin = ''

  constructor(name: string, program: string, args: string[]) {
    this.name = name
    const path = fileURLToPath(new URL(program, import.meta.url))
    this.#process = spawn(process.execPath, ['--import', 'tsx', path, ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#ended = once(this.#process, 'exit')
  }

  async listens(): Promise<void> {
    const { port } = await this.#told<{ port: number }>()
    this.origin = `http://127.0.0.1:${port}`
  }

  /** Microseconds of all its threads so far. */
  async processorTime(): Promise<number> {
    this.#process.send('processor time')
    return (await this.#told<{ microseconds: number }>()).microseconds
  }

  async stop(): Promise<void> {
    this.#process.kill()
    await this.#ended
  }

  async #told<T>(): Promise<T> {
    return await new Promise((resolve, reject) => {
      this.#process.once('message', (message) => resolve(message as T))
      void this.#ended.then(() => reject(new Error(`the server of ${this.name} ended`)))
    })
  }
}
