/** The origin in an application of Fastify 5. */

import fastify from 'fastify'
import { origin } from './library.mjs'
import { announce, port } from './program.mjs'

const app = fastify()
app.get('/', () => 'Fastify')

app.register(async (mizan) => {
  // The origin reads the body itself, so here nothing is parsed; routes outside of this function keep their parsers.
  mizan.removeAllContentTypeParsers()
  mizan.addContentTypeParser('*', (_request, _payload, done) => done(null))
  mizan.all('/api/mizan/*', (request, reply) => {
    reply.hijack()
    origin.node(request.raw, reply.raw)
  })
})

await app.listen({ port, host: '127.0.0.1' })
announce(app.server)
