/** The origin on a server of node:http. */

import { createServer } from 'node:http'
import { origin } from './library.mjs'
import { announce, port } from './program.mjs'

const server = createServer(origin.node)
server.listen(port, '127.0.0.1', () => announce(server))
