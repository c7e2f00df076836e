/**
 * Uses and lets go, again and again, and prints what this process holds on the way: its resident memory, open files,
 * threads, and what keeps Node alive. Arguments: a Redis URL or "memory", what is let go, how often, how many samples.
 * Needs --expose-gc. As a worker: what is terminated.
 */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parentPort, threadId, Worker, workerData } from 'node:worker_threads'
import { Cache, onLog } from '@mizan/cache'

const AT_ONCE = 10
/** Bytes that are no text. */
const BINARY = new Uint8Array(1000).fill(255)

/** @param {string} url */
function open(url) {
  const secret = 'a secret of the tests, 32 bytes or more'
  return new Cache({ secret, commandTimeoutMs: 10_000, ...(url === 'memory' ? {} : { redisUrl: url }) })
}

let uses = 0

/** @param {Cache} cache */
async function use(cache) {
  uses += 1
  const params = { thread: threadId, id: uses }
  const { lease } = await cache.lookup('leak', params)
  await cache.put('leak', params, BINARY, { lease })
  await cache.getBytes('leak', params)
  await cache.purge('leak', params)
}

/** Listens to calls and to the log; returns a function that ends it. */
function listen() {
  const receive = () => {}
  subscribe('mizan:cache:get', receive)
  const stop = onLog(receive)
  return () => {
    unsubscribe('mizan:cache:get', receive)
    stop()
  }
}

if (parentPort === null) {
  await main()
} else {
  const cache = open(workerData)
  listen()
  for (;;) {
    await Promise.all([use(cache), use(cache)])
    parentPort.postMessage('busy')
  }
}

async function main() {
  const [url = '', what = '', rounds, samples] = process.argv.slice(2)
  const shared = open(url)
  await shared.put('binary', {}, BINARY)
  const closed = open(url)
  await closed.close()

  /** What is done once of each; every one of these happens ten times at once. */
  const loops = {
    promises: async () => {
      await use(shared)
      // Of those that are rejected, one at once and one when Redis has answered; of the others nobody waits.
      await Promise.allSettled([closed.get('leak', {}), shared.get('binary', {})])
      for (let count = 0; count < 10; count += 1) void shared.getBytes('binary', {})
    },
    closed: async () => {
      const cache = open(url)
      await use(cache)
      await cache.close()
    },
    heard: async () => {
      const stop = listen()
      await use(open(url))
      stop()
    },
    dropped: async () => await use(open(url)),
    unused: async () => void open(url).deriveKey('leak', {}),
    workers: async () => {
      const worker = new Worker(fileURLToPath(import.meta.url), { workerData: url })
      await once(worker, 'message')
      await worker.terminate()
    },
  }
  const loop = loops[/** @type {keyof typeof loops} */ (what)]

  /** @param {number} count */
  async function run(count) {
    for (let done = 0; done < count; done += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, loop))
  }

  // What a process starts once is started in here, its output too.
  console.log('warm')
  await run(2 * AT_ONCE)
  const before = await settled()
  report(before)
  for (let sample = 0; sample < Number(samples); sample += 1) {
    await run(Number(rounds) / Number(samples))
    report(await settled(before))
  }
  process.exit()
}

/** What is held once everything that was let go is gone; where that never happens, what is held after a while. */
async function settled(before = { files: 0, threads: 0, alive: 0 }) {
  let held = holding()
  for (let tries = 0; tries < 100; tries += 1) {
    globalThis.gc?.()
    await pause(20)
    const next = holding()
    const isBack =
      next.files <= before.files && next.threads <= before.threads && next.alive <= before.alive && before.files > 0
    const isSteady = before.files === 0 && tries > 20 && JSON.stringify(next) === JSON.stringify(held)
    held = next
    if (isBack || isSteady) break
  }
  return held
}

function holding() {
  return {
    files: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    alive: process.getActiveResourcesInfo().length,
  }
}

/** @param {ReturnType<typeof holding>} held */
function report(held) {
  console.log(JSON.stringify({ ...held, rss: process.memoryUsage.rss() / 1024 / 1024 }))
}
