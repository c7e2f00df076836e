/** As much of the other runtimes' globals as their programs use. */

interface ServeOptions {
  port: number
  hostname: string
}

type FetchHandler = (request: Request) => Promise<Response>

declare const Bun: {
  serve(options: ServeOptions & { fetch: FetchHandler }): { port: number }
}

declare const Deno: {
  serve(options: ServeOptions & { onListen: (address: { port: number }) => void }, handler: FetchHandler): unknown
}
