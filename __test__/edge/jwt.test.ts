import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { identifyJwt, type JwtOptions } from '../../edge/index.ts'
import { bearer, startEdge } from './support/edge.ts'
import { MANIFEST } from './support/manifest.ts'

type KeyPair = Awaited<ReturnType<typeof generateKeyPair>>

const SECRET = 'what the login signs with, 32 bytes or more'
const ISSUER = 'https://login.example'
const PINNED = { audience: 'shop', issuer: ISSUER }

let login: KeyPair
let stranger: KeyPair
let jwks: { keys: Awaited<ReturnType<typeof exportJWK>>[] }

beforeAll(async () => {
  login = await generateKeyPair('ES256')
  stranger = await generateKeyPair('ES256')
  jwks = { keys: [{ ...(await exportJWK(login.publicKey)), kid: 'one', alg: 'ES256' }] }
})

interface Claims {
  sub?: string
  aud?: string
  iss?: string
  /** Seconds from now; null for none. */
  exp?: number | null
  nbf?: number
}

const now = () => Math.floor(Date.now() / 1000)

function token({ sub = 'ann', aud = 'shop', iss = ISSUER, exp = 3600, nbf }: Claims = {}): SignJWT {
  return new SignJWT({
    aud,
    iss,
    ...(sub !== '' && { sub }),
    ...(exp !== null && { exp: now() + exp }),
    ...(nbf !== undefined && { nbf: now() + nbf }),
  })
}

const bySecret = (claims?: Claims, alg = 'HS256', secret = SECRET) =>
  token(claims).setProtectedHeader({ alg }).sign(new TextEncoder().encode(secret))
const byKey = (claims?: Claims, key = login.privateKey) =>
  token(claims).setProtectedHeader({ alg: 'ES256', kid: 'one' }).sign(key)

async function identified(options: JwtOptions, authorization: string | null): Promise<string | null> {
  const headers: Record<string, string> = authorization === null ? {} : { Authorization: authorization }
  return identifyJwt(options)(new Request('https://shop.example/', { headers }), {})
}

describe('with a secret', () => {
  const options: JwtOptions = { secret: SECRET, algorithms: ['HS256'], ...PINNED }

  test('the subject of a token that holds is the user', async () => {
    expect(await identified(options, `Bearer ${await bySecret()}`)).toBe('ann')
    expect(await identified({ ...options, secret: () => SECRET }, `bearer  ${await bySecret()}`)).toBe('ann')
  })

  test.each<[string, () => Promise<string> | string]>([
    ['of another secret', () => bySecret({}, 'HS256', 'another secret of 32 bytes or more, certainly')],
    ['of another algorithm', () => bySecret({}, 'HS512')],
    ['for another audience', () => bySecret({ aud: 'bank' })],
    ['of another issuer', () => bySecret({ iss: 'https://attacker.example' })],
    ['that has expired', () => bySecret({ exp: -30 })],
    ['that does not expire', () => bySecret({ exp: null })],
    ['that is not valid yet', () => bySecret({ nbf: 30 })],
    ['without a subject', () => bySecret({ sub: '' })],
    ['without a signature', () => unsigned()],
    ['whose claims were changed', async () => changed(await bySecret())],
    ['that is none', () => 'ann'],
  ])('a token %s identifies nobody', async (_name, make) => {
    expect(await identified(options, `Bearer ${await make()}`)).toBeNull()
  })

  test.each([null, '', 'Bearer', 'Basic YW5uOg=='])('the header %j identifies nobody', async (authorization) => {
    expect(await identified(options, authorization)).toBeNull()
  })

  test('clocks may differ by what is allowed, and no more', async () => {
    const late = `Bearer ${await bySecret({ exp: -20 })}`
    expect(await identified({ ...options, clockTolerance: 40 }, late)).toBe('ann')
    expect(await identified({ ...options, clockTolerance: 10 }, late)).toBeNull()
  })
})

describe('with public keys', () => {
  test('a token of the login identifies, one of a stranger does not', async () => {
    const options: JwtOptions = { jwks, algorithms: ['ES256'], ...PINNED }
    expect(await identified(options, `Bearer ${await byKey()}`)).toBe('ann')
    expect(await identified(options, `Bearer ${await byKey({}, stranger.privateKey)}`)).toBeNull()
  })

  test('a public key is not taken for a secret', async () => {
    const forged = await bySecret({}, 'HS256', JSON.stringify(jwks.keys[0]))
    expect(await identified({ jwks, algorithms: ['ES256'], ...PINNED }, `Bearer ${forged}`)).toBeNull()
  })

  test('that the login publishes, in workerd', async () => {
    const edge = await startEdge({
      manifest: MANIFEST,
      worker: 'jwks-worker.ts',
      jwks,
      origin: async (request) => Response.json(request.headers.get('X-Mizan-Identity')?.split('.').at(-1) ?? null),
    })
    onTestFinished(() => edge.stop())
    const read = async (token: string) => edge.fetch('/api/mizan/ctx/notes/', { headers: bearer(token) })
    expect((await read(await byKey())).text).toBe('"ann"')
    expect((await read(await byKey({ sub: 'bob' }))).text).toBe('"bob"')
    expect((await read(await byKey({}, stranger.privateKey))).text).toBe('null')
    expect(edge.cdn.entries.size).toBe(2)
  })
})

test.each<[string, object]>([
  ['neither keys nor a secret', { algorithms: ['HS256'], ...PINNED }],
  ['both', { jwks: { keys: [] }, secret: SECRET, algorithms: ['HS256'], ...PINNED }],
  ['no algorithm', { secret: SECRET, algorithms: [], ...PINNED }],
  ['the algorithm none', { secret: SECRET, algorithms: ['none'], ...PINNED }],
  ['an asymmetric algorithm for a secret', { secret: SECRET, algorithms: ['RS256'], ...PINNED }],
  ['a symmetric algorithm for public keys', { jwks: { keys: [] }, algorithms: ['HS256'], ...PINNED }],
  ['no audience', { secret: SECRET, algorithms: ['HS256'], issuer: ISSUER }],
  ['no issuer', { secret: SECRET, algorithms: ['HS256'], audience: 'shop' }],
  ['a skew without bound', { secret: SECRET, algorithms: ['HS256'], ...PINNED, clockTolerance: 61 }],
])('%s is refused at once', (_name, options) => {
  expect(() => identifyJwt(options as JwtOptions)).toThrow(expect.objectContaining({ code: 'ERR_MIZAN_OPTION' }))
})

test('what is wrong with the Worker, and not with a token, is raised', async () => {
  const short: JwtOptions = { secret: 'short', algorithms: ['HS256'], ...PINNED }
  await expect(identified(short, `Bearer ${await bySecret()}`)).rejects.toMatchObject({ code: 'ERR_MIZAN_SECRET' })
})

function unsigned(): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none' })}.${part({ sub: 'ann', aud: 'shop', iss: ISSUER, exp: now() + 60 })}.`
}

function changed(jwt: string): string {
  const [header, claims = '', signature] = jwt.split('.')
  const forged = Buffer.from(claims, 'base64url').toString().replace('"ann"', '"bob"')
  return [header, Buffer.from(forged).toString('base64url'), signature].join('.')
}
