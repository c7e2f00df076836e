/** An origin in a process of its own, over the Redis and the plan it is told, whose database is in the process of the test. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Cache } from '../../../cache/index.ts'
import { createOrigin } from '../../../origin/index.ts'
import { authenticate, build, type Database, makePlan, Random } from './world.ts'

/** What the test sends: a world to serve from now on, or the answer of its database. */
export type ToOrigin = { readonly seed: number } | { readonly id: number; readonly result: number }

/** What this process sends: where it serves, or a question to the database. */
export type FromOrigin =
  | { readonly address: string }
  | { readonly id: number; readonly read: Parameters<Database['read']> }
  | { readonly id: number; readonly write: Parameters<Database['write']> }

const [secret = '', redisUrl = ''] = process.argv.slice(2)
const cache = new Cache({ secret, redisUrl, local: false })
const waiting = new Map<number, (result: number) => void>()
let lastId = 0
let serve: ReturnType<typeof createOrigin>['node'] = () => {}

function send(message: FromOrigin): void {
  process.send?.(message)
}

function ask(message: (id: number) => FromOrigin): Promise<number> {
  lastId += 1
  const id = lastId
  send(message(id))
  return new Promise((resolve) => waiting.set(id, resolve))
}

const database: Database = {
  read: (...read) => ask((id) => ({ id, read })),
  write: async (...write) => {
    await ask((id) => ({ id, write }))
  },
}

const server = createServer((request, response) => serve(request, response))

process.on('message', (message: ToOrigin) => {
  if ('seed' in message) {
    const origin = createOrigin({ cache, authenticate, onError: () => {} })
    build(origin, makePlan(new Random(message.seed)), database, new Random(message.seed))
    serve = origin.node
    send({ address: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  } else {
    waiting.get(message.id)?.(message.result)
    waiting.delete(message.id)
  }
})
process.on('disconnect', () => process.exit())
server.listen(0, '127.0.0.1', () => send({ address: '' }))
