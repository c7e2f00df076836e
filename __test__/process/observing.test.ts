import { expect, onTestFinished, test } from 'vitest'
import { Program } from '../support/process-program.ts'
import { RedisServer } from '../support/redis-server.ts'

async function startServer(): Promise<RedisServer> {
  const server = await RedisServer.start()
  onTestFinished(() => server.stop())
  return server
}

test('a program that listens and never calls exits by itself', async () => {
  const server = await startServer()
  const end = await new Program('observing-program.mjs', [server.url, 'no calls']).ended
  expect(end).toMatchObject({ code: 0, signal: null, lines: ['last statement'], complaint: '' })
})

test('so does one that goes on being told, for Redis is gone and a purge is kept', async () => {
  const server = await startServer()
  const program = new Program('observing-program.mjs', [server.url, 'calls'])
  await program.printed('ready')
  await server.kill()
  await program.printed('circuit open')
  program.goOn()
  const end = await program.ended
  expect(end).toMatchObject({
    code: 0,
    signal: null,
    lines: ['ready', 'circuit open', 'last statement'],
    complaint: '',
  })
})

test('threads are told of the cache that they share, and the one that stays when the others have ended', async () => {
  const server = await startServer()
  const program = new Program('observing-threads-program.mjs', [server.url])
  const threads = ['thread 0', 'thread 1', 'thread 2']
  await Promise.all(threads.map((thread) => program.printed(`${thread}: ready`)))
  await server.kill()
  await Promise.all(threads.map((thread) => program.printed(`${thread}: circuit open`)))
  program.goOn()
  const { code, signal, lines, complaint } = await program.ended
  expect({ code, signal, complaint }).toEqual({ code: 0, signal: null, complaint: '' })
  // Each of its own connection.
  expect(lines.filter((line) => line.endsWith('connection made')).sort()).toEqual(
    threads.map((thread) => `${thread}: connection made`),
  )
  expect(lines.filter((line) => line.includes('pending-purges'))).toEqual([
    'thread 0: pending-purges pending',
    'thread 0: pending-purges lost',
  ])
})
