import type { Answer } from './answer.ts'
import { BodyReader, incompleteBody } from './body-reader.ts'
import type { OriginRequest, Service } from './dispatch.ts'
import { dispatch } from './dispatch.ts'
import { andThen } from './maybe-promise.ts'

/** What is read of a request of `node:http`. */
export interface NodeRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  /** Where Express keeps the whole path of a router that is mounted below one. */
  readonly originalUrl?: string | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Whether the body has been read, as by a body parser that ran before. */
  readonly readableEnded: boolean
  /** What a body parser made of it. */
  readonly body?: unknown
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  on(event: 'end' | 'close' | 'error', listener: () => void): unknown
}

/** What is written to a response of `node:http`. */
export interface NodeResponse {
  readonly headersSent: boolean
  writeHead(status: number, headers: Record<string, string>): unknown
  end(body: string, encoding: 'ascii' | 'latin1' | 'utf8'): unknown
}

/** Answers a request of `node:http`. */
export function handleNodeRequest(service: Service, request: NodeRequest, response: NodeResponse): void {
  void andThen(dispatch(service, fromNodeRequest(request)), (answer) => send(request, response, answer))
}

function send(request: NodeRequest, response: NodeResponse, { status, headers, body }: Answer): void {
  // Somebody else has answered meanwhile, as a middleware does whose time is over.
  if (response.headersSent) return
  const length = Buffer.byteLength(body)
  if (body !== '') headers['Content-Length'] = `${length}`
  response.writeHead(status, headers)
  response.end(request.method === 'HEAD' ? '' : body, fastestEncoding(body, length))
}

/**
 * ASCII text is the same bytes in all three. As UTF-8 it is looked through once more; as Latin-1 it is joined with the
 * head and sent in one piece, which is fastest until the copy that this takes costs more than a second piece.
 */
function fastestEncoding(body: string, bytes: number): 'ascii' | 'latin1' | 'utf8' {
  if (bytes !== body.length) return 'utf8'
  return bytes > LARGEST_JOINED ? 'ascii' : 'latin1'
}

/** In bytes. */
const LARGEST_JOINED = 16_384

function fromNodeRequest(request: NodeRequest): OriginRequest {
  return {
    method: request.method ?? '',
    headers: { get: (name) => header(request, name) },
    target: request.originalUrl ?? request.url ?? '',
    readText: (limit) => readText(request, limit),
  }
}

function header(request: NodeRequest, name: string): string | null {
  const value = request.headers[name.toLowerCase()]
  return Array.isArray(value) ? value.join(', ') : (value ?? null)
}

async function readText(request: NodeRequest, limit: number): Promise<string> {
  const reader = new BodyReader(limit, header(request, 'content-length'))
  if (request.readableEnded) {
    const { body } = request
    return typeof body === 'string' ? body : JSON.stringify(body ?? null)
  }
  return new Promise((resolve, reject) => {
    // Beyond the limit the rest is read and dropped, so that the client is done sending and reads the answer.
    request.on('data', (chunk) => attempt(() => reader.add(chunk)))
    request.on('end', () => attempt(() => resolve(reader.text())))
    request.on('error', () => reject(incompleteBody()))
    request.on('close', () => reject(incompleteBody()))

    function attempt(step: () => void): void {
      try {
        step()
      } catch (error) {
        reject(error)
      }
    }
  })
}
