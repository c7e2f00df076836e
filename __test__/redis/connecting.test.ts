/** How a connection is made, and what is said where it cannot be. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { cacheGet, configureCache } from '../../cache/index.ts'
import { eventually } from '../support/eventually.ts'
import { openCache, SECRET } from '../support/redis-cache.ts'
import { type Certificates, makeCertificates } from '../support/redis-certificates.ts'
import { findFreePort, type Observer, RedisServer } from '../support/redis-server.ts'

let server: RedisServer
let observer: Observer

beforeAll(async () => {
  server = await RedisServer.start()
  observer = await server.observe()
})

afterAll(() => server?.stop())

/** Why connections failed that this test makes. */
function failures(): string[] {
  const reasons: string[] = []
  const listen = (message: unknown) => {
    const { state, reason } = message as { state: string; reason?: string }
    if (state === 'failed' && reason !== undefined) reasons.push(reason)
  }
  subscribe('mizan:cache:connection', listen)
  onTestFinished(() => void unsubscribe('mizan:cache:connection', listen))
  return reasons
}

describe('credentials', () => {
  test('are asked for at each connection, so that a password may expire', async () => {
    let password = 'first'
    const setPassword = (of: string) =>
      observer.sendCommand(['ACL', 'SETUSER', 'app', 'on', 'resetpass', `>${of}`, '~*', '+@all'])
    await setPassword(password)
    let asked = 0
    const cache = openCache({
      redisUrl: server.url,
      credentials: async () => {
        asked += 1
        return { username: 'app', password }
      },
    })
    expect(await cache.put('user', {}, 'x')).toBe(true)
    expect(asked).toBe(1)
    password = 'second'
    await setPassword(password)
    await observer.sendCommand(['CLIENT', 'KILL', 'USER', 'app'])
    await eventually('it is connected again', () => cache.put('user', {}, 'y'))
    expect(asked).toBe(2)
  })

  test.each<[string, () => unknown]>([
    ['that cannot be had', () => Promise.reject(new Error('no vault'))],
    [
      'that throw',
      () => {
        throw new Error('no vault')
      },
    ],
    ['that are none', () => 'secret'],
    ['that are wrong', () => ({ username: 'nobody', password: 'wrong' })],
  ])('%s fail the attempt, and say so', async (_name, credentials) => {
    const reasons = failures()
    const cache = openCache({ redisUrl: server.url, credentials: credentials as never })
    expect(await cache.put('user', {}, 'x')).toBe(false)
    await eventually('it is said', () => reasons.length > 0)
    expect(reasons).toEqual(['credentials'])
  })

  test('of the default cache are those that were given last', async () => {
    const asked: string[] = []
    const configure = (name: string) => {
      const credentials = () => {
        asked.push(name)
        return { password: 'any' }
      }
      return configureCache({ secret: SECRET, redisUrl: server.url, credentials })
    }
    onTestFinished(() => configure('last').close())
    configure('first')
    configure('second')
    await cacheGet('user', {})
    expect(asked).toEqual(['second'])
  })

  test('name no user that somebody gave to every object', async () => {
    const sent: string[] = []
    const fake = createServer((socket) => void socket.on('data', (data) => sent.push(String(data))))
    const port = await findFreePort()
    await new Promise<void>((resolve) => fake.listen(port, '127.0.0.1', resolve))
    onTestFinished(() => void fake.close())
    const everybodys = Object.prototype as { username?: string }
    onTestFinished(() => void delete everybodys.username)
    const cache = openCache({ redisUrl: `redis://127.0.0.1:${port}`, credentials: () => ({ password: 'x' }) })
    everybodys.username = 'attacker'
    const read = cache.get('user', {})
    await eventually('it says hello', () => sent.length > 0)
    expect(sent[0]).toMatch(/AUTH\r\n\$7\r\ndefault\r\n/)
    await read
  })

  test('beside a password in the URL are an error', () => {
    const credentials = () => ({ password: 'x' })
    expect(() => openCache({ redisUrl: 'redis://:secret@127.0.0.1:1', credentials })).toThrow(/options\.redisUrl/)
  })
})

describe('a URL', () => {
  test('names a database, by its path or by db', async () => {
    const [byPath, byQuery] = [
      openCache({ redisUrl: `${server.url}/4` }),
      openCache({ redisUrl: `${server.url}?db=4` }),
    ]
    await byPath.put('user', {}, 'x')
    expect(await byQuery.get('user', {})).toBe('x')
    const keyspace = await observer.info('keyspace')
    expect(keyspace).toContain('db4:keys=1')
  })

  test.each([
    'redis://bob@127.0.0.1',
    'redis://127.0.0.1?protocol=2',
    'redis://127.0.0.1/1?db=2',
    'rediss://127.0.0.1/#insecure',
    'redis://127.0.0.1/-1',
  ])('%s is refused, since it cannot be honoured whole', (redisUrl) => {
    expect(() => openCache({ redisUrl })).toThrow(
      expect.objectContaining({ code: 'ERR_MIZAN_OPTION', message: expect.stringMatching(/^options\.redisUrl /) }),
    )
  })
})

describe('a connection that cannot be made says why', () => {
  let certificates: Certificates
  let secure: RedisServer

  beforeAll(async () => {
    certificates = await makeCertificates()
    secure = await RedisServer.start({ certificates })
  })

  afterAll(async () => {
    await secure?.stop()
    await certificates?.remove()
  })

  async function reasonAt(options: Parameters<typeof openCache>[0]): Promise<string | undefined> {
    const reasons = failures()
    const cache = openCache({ connectTimeoutMs: 300, ...options })
    await cache.get('user', {})
    await eventually('it is said', () => reasons.length > 0)
    return reasons[0]
  }

  test('nothing listens there', async () => {
    expect(await reasonAt({ redisUrl: `redis://127.0.0.1:${await findFreePort()}` })).toBe('refused')
  })

  test('the certificate is not to be trusted, or is somebody else’s', async () => {
    expect(await reasonAt({ redisUrl: secure.url })).toBe('certificate')
    const tls = { ca: certificates.authority, servername: 'other.example' }
    expect(await reasonAt({ redisUrl: secure.url, tls })).toBe('certificate')
  })

  test('the certificate to show is none', async () => {
    const tls = { ca: certificates.authority, cert: 'no PEM', key: 'no PEM' }
    expect(await reasonAt({ redisUrl: secure.url, tls })).toBe('certificate')
  })

  test('a thread that only uses the default cache has its certificates', async () => {
    const tls = { ca: certificates.authority }
    const cache = configureCache({ secret: SECRET, redisUrl: secure.url, tls })
    onTestFinished(() => cache.close())
    await cache.put('user', {}, 'of main')
    const built = new URL('../../dist/index.mjs', import.meta.url).href
    const program = `
      const { parentPort } = require('node:worker_threads')
      import('${built}').then(async ({ cacheGet }) => parentPort.postMessage(await cacheGet('user', {})))`
    const worker = new Worker(program, { eval: true })
    onTestFinished(() => void worker.terminate())
    expect(await once(worker, 'message')).toEqual(['of main'])
  })

  test('the password is wrong', async () => {
    expect(await reasonAt({ redisUrl: server.url.replace('//', '//nobody:wrong@') })).toBe('credentials')
  })

  test('the database is out of range', async () => {
    expect(await reasonAt({ redisUrl: `${server.url}/999` })).toBe('refused')
  })

  test('what answers is no Redis', async () => {
    const port = await findFreePort()
    const other = createServer((socket) => void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve))
    onTestFinished(() => void other.close())
    expect(await reasonAt({ redisUrl: `redis://127.0.0.1:${port}` })).toBe('protocol')
  })

  test('nobody answers', async () => {
    const silent = createServer(() => {})
    const port = await findFreePort()
    await new Promise<void>((resolve) => silent.listen(port, '127.0.0.1', resolve))
    onTestFinished(() => void silent.close())
    expect(await reasonAt({ redisUrl: `redis://127.0.0.1:${port}` })).toBe('timeout')
  })
})
