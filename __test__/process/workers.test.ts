import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { Program } from '../support/process-program.ts'
import { countConnections, type Observer, RedisServer } from '../support/redis-server.ts'

const ROUNDS = 6

let server: RedisServer
let observer: Observer

beforeAll(async () => {
  server = await RedisServer.start()
  observer = await server.observe()
})

afterAll(() => server?.stop())

beforeEach(async () => {
  await observer.flushAll()
  await eventually('nobody is connected', async () => (await countConnections(observer)) === 0)
})

test('twenty threads terminated in the middle of calls leave a working process and no connection', async () => {
  const program = new Program('workers-program.mjs', [server.url, `${ROUNDS}`])
  await program.printed('done')
  expect(program.lines).toEqual([...Array.from({ length: ROUNDS }, (_, round) => `round ${round}: kept`), 'done'])
  // The main thread's own. Those that belonged to terminated threads are gone.
  await eventually('one connection is left', async () => (await countConnections(observer)) === 1)
  program.goOn()
  expect(await program.ended).toMatchObject({ code: 0, signal: null, complaint: '' })
})

test('also while Redis stands still', async () => {
  const program = new Program('workers-program.mjs', [server.url, '2'])
  await program.printed('round 0: kept')
  await server.pause()
  await program.printed('done')
  server.resume()
  program.goOn()
  expect(await program.ended).toMatchObject({ code: 0, signal: null, complaint: '' })
})

test('threads share the default cache, each by a connection of its own that ends with it', async () => {
  const program = new Program('sharing-program.mjs', [server.url])
  await program.printed('main works')
  expect(await countConnections(observer)).toBe(1)
  await program.printed('all work')
  expect(await countConnections(observer)).toBe(11)
  program.goOn()
  const { code, signal, lines, complaint } = await program.ended
  expect({ code, signal, complaint }).toEqual({ code: 0, signal: null, complaint: '' })
  // The counters are one cache's.
  expect(lines.slice(2)).toEqual([Array.from({ length: 10 }, (_, index) => index).join(), 'stores 501'])
})
