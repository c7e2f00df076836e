/**
 * One arm of `cases/http-redis.ts`: a server that reads one value from Redis for every request, in turns over all entries.
 * Arguments: the arm, how many entries there are, their bytes, the URL of the Redis.
 */

import { strict as assert } from 'node:assert'
import { makeValue } from './entries.ts'
import type { Peer, PeerOptions } from './peers/peer.ts'
import { serve } from './serve.ts'

const [arm = '', entries = '', bytes = '', redisUrl = ''] = process.argv.slice(2)

async function reader(): Promise<(id: number) => ReturnType<Peer['get']> | string> {
  if (arm === 'constant') {
    const value = makeValue(0, Number(bytes))
    return () => value
  }
  const { open }: { open(options: PeerOptions): Promise<Peer> } = await import(`./peers/${arm}.ts`)
  const peer = await open({ tier: 'redis', redisUrl })
  // Keys that are given ready-made are made before the load.
  for (let id = 0; id < Number(entries); id++) {
    const value = makeValue(id, Number(bytes))
    await peer.set(id, value)
    assert.equal(await peer.get(id), value, `${arm} must read what was stored`)
  }
  return (id) => peer.get(id)
}

const read = await reader()
let next = 0

serve((_request, response) => {
  next = next + 1 === Number(entries) ? 0 : next + 1
  const found = read(next)
  if (typeof found === 'string') {
    send(found)
  } else {
    found.then(send, () => send(null))
  }

  function send(value: string | null | undefined): void {
    if (typeof value !== 'string') {
      response.writeHead(500).end()
      return
    }
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(value) })
    response.end(value)
  }
})
