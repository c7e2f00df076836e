/** The origin in an application of Hono 4, here on Node. */

import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { origin } from './library.mjs'
import { announce, port } from './program.mjs'

const app = new Hono()
app.get('/', (context) => context.text('Hono'))
app.all('/api/mizan/*', (context) => origin.fetch(context.req.raw))

const server = serve({ fetch: app.fetch, port, hostname: '127.0.0.1' }, () => announce(server))
