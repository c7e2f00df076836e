/** Does with a route handler what Next does: gives a request to the export that is named like its method. */

import { serve } from '@hono/node-server'
import * as route from '../../examples/frameworks/next/app/api/mizan/[...path]/route.js'
import { announce, port } from '../../examples/frameworks/program.mjs'

/** @type {Record<string, unknown>} */
const handlers = route

const server = serve(
  {
    fetch: (/** @type {Request} */ request) => {
      const handler = handlers[request.method]
      return typeof handler === 'function' ? handler(request) : new Response(null, { status: 405 })
    },
    port,
    hostname: '127.0.0.1',
  },
  () => announce(server),
)
