import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

/** How a program ended. */
export interface End {
  /** `null` if a signal ended it. */
  code: number | null
  signal: NodeJS.Signals | null
  /** What it printed. */
  lines: string[]
  complaint: string
  /** From the arrival of its last line to its end. */
  millisecondsAfterLastLine: number
}

/** A Node process that runs a program of `__test__/process` on the built package, and goes with the test. */
export class Program {
  readonly lines: string[] = []
  readonly ended: Promise<End>
  readonly #child: ChildProcess
  readonly #waiting: (() => void)[] = []
  #lastLineAt = 0
  #complaint = ''
  #isOver = false

  constructor(name: string, args: string[] = [], flags: string[] = []) {
    const path = fileURLToPath(new URL(`../process/${name}`, import.meta.url))
    const child = spawn(process.execPath, [...flags, path, ...args])
    this.#child = child
    onTestFinished(() => {
      child.kill('SIGKILL')
    })
    child.stderr.on('data', (text) => {
      this.#complaint += text
    })
    createInterface(child.stdout).on('line', (line) => {
      this.#lastLineAt = performance.now()
      this.lines.push(line)
      this.#wake()
    })
    let exitedAt = 0
    child.once('exit', () => {
      exitedAt = performance.now()
    })
    this.ended = once(child, 'close').then(([code, signal]) => {
      this.#isOver = true
      this.#wake()
      const millisecondsAfterLastLine = exitedAt - this.#lastLineAt
      return { code, signal, lines: this.lines, complaint: this.#complaint, millisecondsAfterLastLine }
    })
  }

  /** Resolves when the program has printed this line. */
  async printed(line: string): Promise<void> {
    while (!this.lines.includes(line)) {
      if (this.#isOver) {
        throw new Error(`the program ended without printing "${line}": ${this.lines.join('\n')}\n${this.#complaint}`)
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  /** Ends the program's standard input, which it takes as the sign to go on. */
  goOn(): void {
    this.#child.stdin?.end()
  }

  get hasEnded(): boolean {
    return this.#isOver
  }

  stop(): void {
    this.#child.kill('SIGKILL')
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) {
      wake()
    }
  }
}
