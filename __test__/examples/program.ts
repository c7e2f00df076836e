import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import { root } from '../../scripts/system.mjs'

/** How a program ended. */
export interface End {
  /** Null if a signal ended it. */
  code: number | null
  output: string
}

/** A program that prints the address it listens at, and goes with the test. */
export class ServerProgram {
  readonly #child: ChildProcess
  readonly #ended: Promise<End>
  #output = ''

  private constructor(command: string, args: string[], environment: NodeJS.ProcessEnv) {
    const child = spawn(command, args, {
      cwd: root,
      // PORT of whoever runs the tests is not meant for it, nor is a Redis.
      env: { ...process.env, PORT: '0', MIZAN_CACHE_REDIS_URL: '', MIZAN_CACHE_SECRET: undefined, ...environment },
    })
    this.#child = child
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text) => {
        this.#output += text
      })
    }
    this.#ended = once(child, 'close').then(([code]) => ({ code, output: this.#output }))
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await this.#ended
    })
  }

  static async start(
    command: string,
    args: string[],
    environment: NodeJS.ProcessEnv = {},
  ): Promise<{ program: ServerProgram; address: string }> {
    const program = new ServerProgram(command, args, environment)
    return { program, address: await program.#address() }
  }

  /** Asks it to end, as Ctrl-C does, and says how it did. */
  async interrupt(): Promise<End> {
    this.#child.kill('SIGINT')
    return this.#ended
  }

  #address(): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const address = /http:\/\/127\.0\.0\.1:\d+/.exec(this.#output)?.[0]
        if (address !== undefined) resolve(address)
      }
      this.#child.stdout?.on('data', look)
      this.#ended.then(
        ({ code, output }) => reject(new Error(`it ended with ${code} and no address:\n${output}`)),
        reject,
      )
    })
  }
}
