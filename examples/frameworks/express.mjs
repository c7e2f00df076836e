/** The origin in an application of Express 5. */

import express from 'express'
import { origin } from './library.mjs'
import { announce, port } from './program.mjs'

const app = express()
// Before any body parser: the origin reads the body itself, up to its own limit.
app.use('/api/mizan', origin.node)
app.use(express.json())
app.get('/', (_request, response) => {
  response.send('Express')
})

const server = app.listen(port, '127.0.0.1', () => announce(server))
