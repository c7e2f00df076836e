/** The origin on Bun's server: `bun examples/frameworks/bun.mjs`. */

import { origin } from './library.mjs'
import { port } from './program.mjs'

const server = Bun.serve({ fetch: origin.fetch, port, hostname: '127.0.0.1' })
console.log(`http://127.0.0.1:${server.port}`)
