/**
 * Starts 100 threads that each listen to the default cache, call it, and end; and then tells what the main thread still
 * hears. Argument: a Redis URL.
 */

import { subscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { cachePut, configureCache, onLog } from '@mizan/cache'

const THREADS = 100
const AT_ONCE = 5

const url = parentPort === null ? process.argv[2] : workerData
configureCache({
  secret: 'a secret of the tests, 32 bytes or more',
  redisUrl: url,
  // Threads that start take the processor from those that call.
  commandTimeoutMs: 5_000,
})
let told = 0
subscribe('mizan:cache:put', () => {
  told += 1
})

if (parentPort === null) {
  onLog(({ event, ...entry }) => console.log(`${event} ${'state' in entry ? entry.state : ''}`))
  await cachePut('main', {}, 'x')
  let toldToThreads = 0
  for (let started = 0; started < THREADS; started += AT_ONCE) {
    const ends = Array.from({ length: AT_ONCE }, async () => {
      const worker = new Worker(fileURLToPath(import.meta.url), { workerData: url })
      const [count] = await once(worker, 'message')
      toldToThreads += count
      await once(worker, 'exit')
    })
    await Promise.all(ends)
    if ((started + AT_ONCE) % (THREADS / 4) === 0) {
      console.log(`resident ${process.memoryUsage.rss()}`)
    }
  }
  console.log(`told to threads ${toldToThreads}`)
  await once(process.stdin.resume(), 'end')
} else {
  onLog(() => {})
  await cachePut('thread', {}, 'x')
  parentPort.postMessage(told)
}
