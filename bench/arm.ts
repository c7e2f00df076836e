/**
 * An arm in a process of its own. Clients have timers, sockets, threads and garbage of their own, by which they would
 * disturb one another in one process; and a process's processor time is then the arm's alone.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { PeerOptions } from './peers/peer.ts'
import type { Tasks } from './tasks.ts'

const PROGRAM = fileURLToPath(new URL('arm-process.ts', import.meta.url))

/** What an arm is made of: a module of `peers/`, and how it is opened. */
export interface Description extends PeerOptions {
  name: string
  peer: string
}

export class ArmProcess {
  readonly name: string
  readonly #process: ChildProcess
  readonly #ended: Promise<unknown>

  private constructor(description: Description) {
    this.name = description.name
    this.#process = fork(PROGRAM, [JSON.stringify(description)], {
      execArgv: ['--expose-gc', '--import', 'tsx'],
      serialization: 'advanced',
    })
    this.#ended = once(this.#process, 'exit')
  }

  /** Starts the process, and resolves when its cache is open. */
  static async start(description: Description): Promise<ArmProcess> {
    const arm = new ArmProcess(description)
    await arm.#answer()
    return arm
  }

  /** Runs a task of `tasks.ts` in the process. One at a time. */
  run<Name extends keyof Tasks>(
    task: Name,
    ...args: Parameters<Tasks[Name]>
  ): Promise<Awaited<ReturnType<Tasks[Name]>>> {
    this.#process.send({ task, args })
    return this.#answer() as Promise<Awaited<ReturnType<Tasks[Name]>>>
  }

  async stop(): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.#ended
  }

  #answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#process.once('message', ({ result, error }: { result?: unknown; error?: string }) => {
        if (error === undefined) resolve(result)
        else reject(new Error(`${this.name}: ${error}`))
      })
      void this.#ended.then(() => reject(new Error(`the process of ${this.name} ended`)))
    })
  }
}

/** Starts arms, and ends them when the work with them is done. */
export async function withArms<T>(descriptions: Description[], work: (arms: ArmProcess[]) => Promise<T>): Promise<T> {
  const started = await Promise.allSettled(descriptions.map((description) => ArmProcess.start(description)))
  const arms = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  try {
    for (const each of started) if (each.status === 'rejected') throw each.reason
    return await work(arms)
  } finally {
    await Promise.all(arms.map((arm) => arm.stop()))
  }
}
