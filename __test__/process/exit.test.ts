import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Program } from '../support/process-program.ts'
import { findFreePort, RedisServer } from '../support/redis-server.ts'

/** The requirement itself is a time: from the last statement of a program that never closed its cache to its end. */
const LIMIT_MS = 1000

let server: RedisServer
let paused: RedisServer
const urls: Record<string, string> = { memory: 'memory' }

beforeAll(async () => {
  server = await RedisServer.start()
  paused = await RedisServer.start()
  await paused.pause()
  urls.up = server.url
  urls.refused = `redis://127.0.0.1:${await findFreePort()}`
  urls.paused = paused.url
})

afterAll(async () => {
  await server?.stop()
  await paused?.stop()
})

const redisStates = ['memory', 'up', 'refused', 'paused']
const endings = ['all calls settled', 'calls under way']
const cases = redisStates.flatMap((state) => endings.map((ending) => ({ state, ending })))

describe('a program that ends without close', () => {
  test.for(cases)(
    'exits within 1 s of its last statement: Redis $state, $ending',
    async ({ state, ending }, { annotate }) => {
      const program = new Program('exit-program.mjs', [urls[state] as string, ending])
      const end = await program.ended
      await annotate(`${end.millisecondsAfterLastLine.toFixed(0)} ms`)
      expect(end).toMatchObject({ code: 0, signal: null, lines: ['last statement'], complaint: '' })
      expect(end.millisecondsAfterLastLine).toBeLessThan(LIMIT_MS)
    },
  )

  test('also when Redis stands still only after the connection was made', async ({ annotate }) => {
    const program = new Program('exit-program.mjs', [server.url, 'waits first'])
    await program.printed('ready')
    await server.pause()
    program.goOn()
    const end = await program.ended
    server.resume()
    await annotate(`${end.millisecondsAfterLastLine.toFixed(0)} ms`)
    expect(end).toMatchObject({ code: 0, signal: null, lines: ['ready', 'last statement'], complaint: '' })
    expect(end.millisecondsAfterLastLine).toBeLessThan(LIMIT_MS)
  })

  test('also when Redis goes away only after the connection was made, and a purge is kept', async ({ annotate }) => {
    const its = await RedisServer.start()
    try {
      const program = new Program('exit-program.mjs', [its.url, 'waits first'])
      await program.printed('ready')
      await its.kill()
      program.goOn()
      const end = await program.ended
      await annotate(`${end.millisecondsAfterLastLine.toFixed(0)} ms`)
      expect(end).toMatchObject({ code: 0, signal: null, lines: ['ready', 'last statement'], complaint: '' })
      expect(end.millisecondsAfterLastLine).toBeLessThan(LIMIT_MS)
    } finally {
      await its.stop()
    }
  })
})

describe('a program that is ended with calls under way', () => {
  test.each(redisStates)('by process.exit keeps its exit code: Redis %s', async (state) => {
    const end = await new Program('exit-program.mjs', [urls[state] as string, 'process.exit']).ended
    expect(end).toMatchObject({ code: 7, signal: null, lines: ['last statement'], complaint: '' })
  })

  test.each(redisStates)('by an exception reports just that: Redis %s', async (state) => {
    const end = await new Program('exit-program.mjs', [urls[state] as string, 'an exception']).ended
    expect(end).toMatchObject({ code: 1, signal: null })
    expect(end.complaint).toContain('Error: on purpose')
  })
})

test.each(redisStates)('a top-level await of a call completes: Redis %s', async (state) => {
  const end = await new Program('await-program.mjs', [urls[state] as string]).ended
  const found = state === 'memory' || state === 'up' ? 'x' : 'null'
  // 13 would be Node's code for a top-level await that can never settle.
  expect(end).toMatchObject({ code: 0, signal: null, lines: [found, 'last statement'], complaint: '' })
})
