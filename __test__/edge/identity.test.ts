import { afterEach, expect, test, vi } from 'vitest'
import { signIdentity } from '../../edge/identity.ts'
import { Signer, secretBytes } from '../../edge/signer.ts'
import { identityFromEdge } from '../../origin/index.ts'
import { SECRET } from './support/edge.ts'

const signer = new Signer(secretBytes(SECRET))
const identify = identityFromEdge({ secret: SECRET })
const sent = (value: string | null) => identify({ headers: { get: () => value } })

afterEach(() => vi.useRealTimers())

test.each(['ann', 'a.b.c', 'Zoë 42', '\u{1f600}', '%2e', ' '])('the origin reads the user %j', async (user) => {
  expect(await sent(await signIdentity(signer, user))).toEqual({ id: user })
})

test('a signed identity is believed for a minute, by clocks that differ by no more', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const signed = await signIdentity(signer, 'ann')
  for (const [seconds, believed] of [
    [59, true],
    [-59, true],
    [62, false],
    [-62, false],
  ] as const) {
    const now = Date.now()
    vi.setSystemTime(now + 1000 * seconds)
    expect((await sent(signed)) !== null, `after ${seconds} s`).toBe(believed)
    vi.setSystemTime(now)
  }
})

test('no other header is an identity', async () => {
  const signed = await signIdentity(signer, 'ann')
  const [time = '', signature = ''] = signed.split('.')
  const ofAnotherSecret = await signIdentity(new Signer(secretBytes(`${SECRET}!`)), 'ann')
  const ofACall = await signer.sign('{"c":"user","p":{},"r":0,"u":"ann"}')
  const forged = [
    null,
    '',
    'ann',
    `${time}.${signature}.`,
    `${time}.${signature}.bob`,
    `${Number(time) + 1}.${signature}.ann`,
    `${time}.${signature.slice(1)}.ann`,
    `${time}.${signature.toUpperCase()}.ann`,
    `${time}.${signature}.%`,
    `${time}.${ofACall}.ann`,
    `${signed}, ${signed}`,
    ofAnotherSecret,
  ]
  for (const value of forged) expect(await sent(value), String(value)).toBeNull()
})

test('a short secret is refused', () => {
  expect(() => identityFromEdge({ secret: 'short' })).toThrow(expect.objectContaining({ code: 'ERR_MIZAN_SECRET' }))
})
