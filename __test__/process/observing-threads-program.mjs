/**
 * Threads that share the default cache, each of which prints what it is told; they end before it is closed. Argument: a
 * Redis URL. As a worker: one of them.
 */

import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, threadId, Worker, workerData } from 'node:worker_threads'
import { cachePurge, cachePut, configureCache, onLog } from '@mizan/cache'

const url = isMainThread ? process.argv[2] : workerData
const cache = configureCache({ secret: 'a secret of the tests, 32 bytes or more', redisUrl: url })
onLog(({ event, ...entry }) => console.log(`thread ${threadId}: ${event} ${'state' in entry ? entry.state : ''}`))
await cachePut('user', { threadId }, 'x')
console.log(`thread ${threadId}: ready`)

if (parentPort === null) {
  const threads = [1, 2].map(() => new Worker(fileURLToPath(import.meta.url), { workerData: url }))
  await once(process.stdin.resume(), 'end')
  for (const thread of threads) thread.postMessage('end')
  await Promise.all(threads.map((thread) => once(thread, 'exit')))
  await cachePurge('user')
  await cache.close()
} else {
  await once(parentPort, 'message')
  parentPort.close()
}
