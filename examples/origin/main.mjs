/** `npm start`: a book shop on the origin, and a page that shows what its cache does. Ctrl-C ends it. */

import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { configureCache } from '@mizan/cache'
import { openDatabase } from './database.mjs'
import { Observation } from './observation.mjs'
import { createShop } from './shop.mjs'

const database = openDatabase()
const cache = configureCache({
  // A real shop takes a random secret from its configuration; all processes that share a Redis share it.
  secret: process.env.MIZAN_CACHE_SECRET ?? 'only for this example, not a secret',
})
const place = cache.stats().circuit === null ? 'the memory of this process' : 'Redis'
const observation = new Observation()
const origin = createShop(observation.watchCache(cache), database)

// The database is a new one, and what an earlier run left in Redis is about another.
for (const context of Object.keys(origin.manifest().contexts)) await cache.purge(context)

/** @type {Record<string, { type: string, content: string }>} */
const files = {
  '/': { type: 'text/html', content: (await pageFile('index.html')).replace('{place}', place) },
  '/page.css': { type: 'text/css', content: await pageFile('page.css') },
  '/page.js': { type: 'text/javascript', content: await pageFile('page.js') },
}

const server = createServer((request, response) => {
  const [path = ''] = (request.url ?? '').split('?')
  const file = files[path]
  if (path.startsWith('/api/mizan/')) {
    origin.node(request, observation.watchResponse(request, response))
  } else if (path === '/events') {
    observation.connect(response)
  } else if (file !== undefined) {
    response.writeHead(200, {
      'Content-Type': `${file.type}; charset=utf-8`,
      'Content-Security-Policy': "default-src 'self'; img-src data:",
      'Cache-Control': 'no-store',
    })
    response.end(file.content)
  } else {
    response.writeHead(404, { 'Cache-Control': 'no-store' }).end()
  }
})

server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  console.log(`The shop is open at http://127.0.0.1:${port}, its cache in ${place}. Ctrl-C closes it.`)
})

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, close)

async function close() {
  server.close()
  server.closeAllConnections()
  await cache.close()
  database.close()
}

/** @param {string} name */
function pageFile(name) {
  return readFile(new URL(`page/${name}`, import.meta.url), 'utf8')
}
