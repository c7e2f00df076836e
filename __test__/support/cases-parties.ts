/** Who derives keys: the addon in this process, Python and Rust as filters that read calls from their standard input. */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Case, Language } from './cases.ts'
import { type Arguments, type Call, decodeCall, type Wire, withoutJavaScript } from './cases-wire.ts'

/** `error` is the error's code, or what else it was. */
export type Outcome = { key: string; canonical?: string } | { error: string; message: string }

export interface Party {
  name: string
  language: Language
  readonly answer: (cases: Pick<Case, 'call' | 'shape'>[]) => Promise<Outcome[]>
}

export type Derive = (secret: never, context: never, params: never, userId: never, rev: never) => string

function outcomeOf(derive: () => string): Outcome {
  try {
    return { key: derive() }
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string }
    return { error: code ?? String(error), message: String(message) }
  }
}

/** A party in this process. */
export function inProcess(name: string, derive: Derive): Party {
  return {
    name,
    language: 'js',
    answer: async (cases) =>
      cases.map(({ call, shape }) => {
        const { secret, context, params, userId, rev } = decodeCall(call, shape) as { [name in keyof Arguments]: never }
        return outcomeOf(() => derive(secret, context, params, userId, rev))
      }),
  }
}

/** A long-lived process that answers a line with a line, in order. */
export class Filter implements Party {
  readonly name: string
  readonly language: Language
  readonly #process: ChildProcessWithoutNullStreams
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = []
  readonly #end: Promise<void>
  #complaint = ''
  #failure: Error | undefined

  constructor(name: string, language: Language, command: string, commandArguments: string[]) {
    this.name = name
    this.language = language
    this.#process = spawn(command, commandArguments, { cwd: root })
    const complain = (complaint: unknown) => {
      this.#complaint += complaint
    }
    this.#process.on('error', complain)
    this.#process.stdin.on('error', complain)
    this.#process.stderr.on('data', complain)
    this.#end = new Promise((resolve) => {
      this.#process.once('close', (code) => {
        this.#failure = new Error(`${name} ended (${code}): ${this.#complaint}`)
        for (const { reject } of this.#waiting.splice(0)) reject(this.#failure)
        resolve()
      })
    })
    createInterface({ input: this.#process.stdout }).on('line', (line) => this.#waiting.shift()?.resolve(line))
  }

  async ask(
    calls: ({ [member in keyof Call]?: unknown } & { py?: string; canonicalOnly?: true })[],
  ): Promise<Outcome[]> {
    if (this.#failure !== undefined) throw this.#failure
    const lines = calls.map((call, id) => {
      this.#process.stdin.write(`${JSON.stringify({ id: String(id), ...call })}\n`)
      return new Promise<string>((resolve, reject) => this.#waiting.push({ resolve, reject }))
    })
    return (await Promise.all(lines)).map((line) => JSON.parse(line))
  }

  readonly answer = (cases: Pick<Case, 'call' | 'shape'>[]): Promise<Outcome[]> =>
    this.ask(cases.map(({ call }) => withoutJavaScript(call as unknown as Wire) as unknown as Call))

  /** Resolves once it answers: the Rust filter may have to be built first. */
  async ready(): Promise<void> {
    await this.ask([{ secret: 'ready?', context: 'ready', params: null, userId: null, rev: 0 }])
  }

  async close(): Promise<void> {
    this.#process.stdin.end()
    await this.#end
  }
}

const root = fileURLToPath(new URL('../..', import.meta.url))

export const python = () =>
  new Filter('Python', 'py', process.platform === 'win32' ? 'python' : 'python3', ['__test__/reference/conformance.py'])

/** Builds the filter if it is not built, which on a fresh checkout takes minutes. */
export const rust = () =>
  new Filter('Rust', 'rs', 'cargo', ['run', '--quiet', '--package', 'mizan-cache-core', '--example', 'conformance'])
