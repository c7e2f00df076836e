/** The origin on Deno's server: `deno run --allow-all examples/frameworks/deno.mjs`. */

import { origin } from './library.mjs'
import { port } from './program.mjs'

Deno.serve(
  { port, hostname: '127.0.0.1', onListen: (address) => console.log(`http://127.0.0.1:${address.port}`) },
  origin.fetch,
)
