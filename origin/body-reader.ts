import { HttpError } from './http-errors.ts'

/** Collects the chunks of a request's body, up to a limit. */
export class BodyReader {
  readonly #limit: number
  readonly #chunks: Uint8Array[] = []
  #length = 0

  constructor(limit: number, contentLength: string | null) {
    this.#limit = limit
    this.#check(Number(contentLength ?? 0))
  }

  add(chunk: Uint8Array): void {
    this.#length += chunk.byteLength
    this.#check(this.#length)
    this.#chunks.push(chunk)
  }

  text(): string {
    const bytes = new Uint8Array(this.#length)
    let offset = 0
    for (const chunk of this.#chunks) {
      bytes.set(chunk, offset)
      offset += chunk.byteLength
    }
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    } catch {
      throw new HttpError(400, 'invalid_json', 'The body is not UTF-8.')
    }
  }

  #check(length: number): void {
    if (length > this.#limit) {
      throw new HttpError(413, 'body_too_large', `A body is at most ${this.#limit} bytes.`)
    }
  }
}

/** The client went away, or its connection broke, before it had sent the whole body. */
export function incompleteBody(): HttpError {
  return new HttpError(400, 'incomplete_body', 'The body ended early.')
}
