import { expect, onTestFinished, test } from 'vitest'
import { Program } from '../support/process-program.ts'
import { RedisServer } from '../support/redis-server.ts'

/** A thread that stays behind holds several MiB; 75 of them cannot hide in this. */
const BOUND_MIB = 64

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

test('a hundred threads that listened leave nothing, and the one that stays is still told', async ({ annotate }) => {
  const server = await startServer()
  const program = new Program('observing-threads-program.mjs', [server.url])
  await program.printed('told to threads 100')
  await server.kill()
  await program.printed('circuit open')
  program.goOn()
  const { code, signal, lines, complaint } = await program.ended
  expect({ code, signal, complaint }).toEqual({ code: 0, signal: null, complaint: '' })
  expect(lines.filter((line) => line === 'connection made')).toHaveLength(1)
  const resident = lines.flatMap((line) => (line.startsWith('resident ') ? [Number(line.slice(9)) / 2 ** 20] : []))
  await annotate(`resident memory ${resident.map((each) => each.toFixed(0)).join(' ')} MiB`)
  expect((resident.at(-1) as number) - (resident[0] as number)).toBeLessThan(BOUND_MIB)
})
