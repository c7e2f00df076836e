/**
 * Starts worker threads that call caches without pause, and terminates them in the middle of it, again and again.
 * Arguments: a Redis URL, and how many rounds. As a worker: what is started.
 */

import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { Cache, cacheGet, cachePurge, cachePut, configureCache } from '@mizan/cache'

const WORKERS = 20
/** Twenty busy threads on two cores: the answer to a call may take its time. */
const patience = { secret: 'a secret of the tests, 32 bytes or more', commandTimeoutMs: 2000 }

if (parentPort === null) {
  const [url, rounds] = process.argv.slice(2)
  const shared = configureCache({ ...patience, redisUrl: url })
  await shared.put('main', {}, 'kept')
  for (let round = 0; round < Number(rounds); round += 1) {
    const workers = Array.from(
      { length: WORKERS },
      (_, index) => new Worker(fileURLToPath(import.meta.url), { workerData: { url, index } }),
    )
    const busy = workers.map((worker) => once(worker, 'message'))
    // In every other round most of them are still starting, each at another point of it.
    await (round % 2 === 0 ? Promise.all(busy) : Promise.race(busy))
    busy.map((each) => each.catch(() => {}))
    await Promise.all(workers.map((worker) => worker.terminate()))
    const found = await shared.get('main', {})
    console.log(`round ${round}: ${found}`)
  }
  console.log('done')
  await once(process.stdin.resume(), 'end')
} else {
  const { url, index } = workerData
  const memory = new Cache(patience)
  const redis = new Cache({ ...patience, redisUrl: url })
  configureCache({ ...patience, redisUrl: url })
  const value = new Uint8Array(10_000).fill(index)
  /**
   * @param {Cache} cache
   * @param {number} id
   */
  async function call(cache, id) {
    const params = { index, id }
    await cache.put('user', params, value)
    await cache.getBytes('user', params)
    const { lease } = await cache.lookup('order', params)
    await cache.put('order', params, 'filled', { lease })
    await cache.purge('user', params)
    await cachePut('shared', params, 'x')
    await cacheGet('shared', params)
    await cachePurge('shared', params)
  }
  for (let id = 0; ; id += 1) {
    /** @type {Promise<unknown>[]} */
    const calls = [memory, redis].flatMap((cache) => [call(cache, id), call(cache, -id)])
    if (id % 10 === index % 10) {
      calls.push(cachePurge('shared'), redis.purge('user'))
    }
    await Promise.all(calls)
    parentPort.postMessage('busy')
  }
}
