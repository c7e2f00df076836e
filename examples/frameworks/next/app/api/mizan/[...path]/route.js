/** The origin as a route handler of Next's app router. */

import { origin } from '../../../../../library.mjs'

// The cache is a native addon: not for the edge runtime. And Next must not keep answers itself.
export const runtime = 'nodejs'
export const dynamic = 'force-dynamic'

/** @param {Request} request */
const handle = (request) => origin.fetch(request)

export {
  handle as DELETE,
  handle as GET,
  handle as HEAD,
  handle as OPTIONS,
  handle as PATCH,
  handle as POST,
  handle as PUT,
}
