import { BodyReader, incompleteBody } from './body-reader.ts'
import type { OriginRequest, Service } from './dispatch.ts'
import { dispatch } from './dispatch.ts'
import { HttpError } from './http-errors.ts'

/** Answers a `Request`. It never rejects. */
export async function handleRequest(service: Service, request: Request): Promise<Response> {
  const { status, headers, body } = await dispatch(service, fromRequest(request))
  const bodyless = body === '' || request.method === 'HEAD'
  return new Response(bodyless ? null : body, { status, headers })
}

function fromRequest(request: Request): OriginRequest {
  const { pathname, search } = new URL(request.url)
  return {
    method: request.method,
    headers: request.headers,
    target: pathname + search,
    readText: (limit) => readText(request, limit),
  }
}

async function readText(request: Request, limit: number): Promise<string> {
  const reader = new BodyReader(limit, request.headers.get('content-length'))
  try {
    for await (const chunk of request.body ?? []) reader.add(chunk)
  } catch (error) {
    throw error instanceof HttpError ? error : incompleteBody()
  }
  return reader.text()
}
