import { expect, onTestFinished, test } from 'vitest'
import { Program } from '../support/process-program.ts'
import { RedisServer } from '../support/redis-server.ts'

test.runIf(process.platform === 'linux')('no thread is started, by a cache on Redis neither', async () => {
  const server = await RedisServer.start()
  onTestFinished(() => server.stop())
  const { code, lines, complaint } = await new Program('threads-program.mjs', [server.url]).ended
  expect({ code, complaint }).toEqual({ code: 0, complaint: '' })
  const counts = new Map(lines.map((line) => [line.slice(line.indexOf(' ') + 1), Number.parseInt(line, 10)]))
  const before = counts.get('before') as number
  expect(counts.get('loaded by require')).toBe(before)
  expect(counts.get('loaded by import')).toBe(before)
  expect(counts.get('memory cache used')).toBe(before)
  expect(counts.get('Redis cache made')).toBe(before)
  expect(counts.get('Redis cache used')).toBe(before)
})
