/** Threads that use the process's default cache. Argument: a Redis URL. As a worker: one of the threads. */

import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { cacheGet, cachePut, configureCache } from '@mizan/cache'

const secret = 'a secret of the tests, 32 bytes or more'
const paths = ['configures', 'only uses']

if (parentPort === null) {
  const url = process.argv[2]
  const cache = configureCache({ secret, redisUrl: url })
  await cachePut('user', {}, 'of main')
  console.log('main works')
  const workers = Array.from(
    { length: 10 },
    (_, index) => new Worker(fileURLToPath(import.meta.url), { workerData: { url, index, does: paths[index % 2] } }),
  )
  await Promise.all(workers.map((worker) => once(worker, 'message')))
  console.log('all work')
  await once(process.stdin.resume(), 'end')
  const exits = workers.map((worker) => once(worker, 'exit'))
  for (const worker of workers) {
    worker.postMessage('end')
  }
  await Promise.all(exits)
  const found = await Promise.all(workers.map((_, index) => cacheGet('user', { index })))
  console.log(found.join())
  console.log(`stores ${cache.stats().stores}`)
} else {
  const { url, index, does } = workerData
  if (does === 'configures') {
    configureCache({ secret, redisUrl: url })
  }
  for (let count = 0; count < 50; count += 1) {
    await cachePut('user', { index }, `${index}`)
  }
  parentPort.postMessage(await cacheGet('user', {}))
  await once(parentPort, 'message')
}
