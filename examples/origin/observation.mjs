/** Tells open pages what the origin and its cache do, as they do it: times and names, never what was read or written. */

/** @typedef {import('node:http').ServerResponse} ServerResponse */
/** @typedef {import('@mizan/cache/origin').OriginCache} OriginCache */

export class Observation {
  /** @type {Set<ServerResponse>} */
  #pages = new Set()

  /**
   * Server-sent events: a response that goes on until its page is closed.
   * @param {ServerResponse} page
   */
  connect(page) {
    page.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' }).flushHeaders()
    this.#pages.add(page)
    page.on('close', () => this.#pages.delete(page))
  }

  /**
   * The response to hand to the origin in place of the server's.
   * @param {import('node:http').IncomingMessage} request
   * @param {ServerResponse} response
   * @returns {import('@mizan/cache/origin').NodeResponse}
   */
  watchResponse(request, response) {
    const start = performance.now()
    return {
      get headersSent() {
        return response.headersSent
      },
      writeHead: (status, headers) => {
        this.#tell('request', {
          method: request.method,
          target: request.url,
          user: request.headers['x-shop-user'],
          status,
          cacheStatus: headers['Cache-Status'],
          milliseconds: performance.now() - start,
        })
        response.writeHead(status, headers)
      },
      end: (body) => response.end(body),
    }
  }

  /**
   * The cache to hand to the origin in place of the real one.
   * @param {OriginCache} cache
   * @returns {OriginCache}
   */
  watchCache(cache) {
    return {
      deriveKey: (...call) => cache.deriveKey(...call),
      peek: (...call) => cache.peek(...call),
      lookup: (...call) => cache.lookup(...call),
      put: (...call) => cache.put(...call),
      release: (...call) => cache.release(...call),
      purge: async (context, params, scope) => {
        const start = performance.now()
        const entries = await cache.purge(context, params, scope)
        const milliseconds = performance.now() - start
        this.#tell('purge', { context, params, user: scope?.userId, entries, milliseconds })
        return entries
      },
    }
  }

  /**
   * @param {string} event
   * @param {object} data
   */
  #tell(event, data) {
    for (const page of this.#pages) page.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
  }
}
