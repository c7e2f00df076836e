import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Params, Scope } from '../../cache/index.ts'

const PEER = fileURLToPath(new URL('../interop/peer.py', import.meta.url))
const REFERENCE = fileURLToPath(new URL('../reference', import.meta.url))

export type PeerCall = { context: string; params: Params } & Scope

/** A Python process on the same Redis that knows no leases; it answers a line with a line, in order. */
export class PythonPeer {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>
  #complaint = ''

  constructor(python: string, url: string, secret: string) {
    this.#process = spawn(python, [PEER, url, secret, REFERENCE])
    this.#lines = createInterface(this.#process.stdout)[Symbol.asyncIterator]()
    this.#process.stderr.on('data', (text) => {
      this.#complaint += text
    })
  }

  async ask(command: 'key' | 'get' | 'set' | 'del', call: PeerCall, value?: string): Promise<unknown> {
    this.#process.stdin.write(`${JSON.stringify({ command, ...call, value })}\n`)
    const { value: line, done } = await this.#lines.next()
    if (done) {
      throw new Error(`the Python process ended: ${this.#complaint}`)
    }
    return JSON.parse(line)
  }

  end(): void {
    this.#process.kill('SIGKILL')
  }
}
