/** Attacks on the edge: by a token, a header or an address, to be given what the CDN keeps for another user. */

import { createHash, createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { exportJWK, SignJWT } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { signIdentity } from '../../edge/identity.ts'
import { identifyJwt } from '../../edge/index.ts'
import { Signer, secretBytes } from '../../edge/signer.ts'
import { identityFromEdge } from '../../origin/index.ts'
import { bearer, type Edge, type Received, SECRET, signIn, startEdge } from '../edge/support/edge.ts'
import { MANIFEST } from '../edge/support/manifest.ts'

const NOTES = '/api/mizan/ctx/notes/'
const LOGIN_SECRET = 'what the login signs with, 32 bytes or more'

let edge: Edge
let ann: string
let bob: string

const identify = identityFromEdge({ secret: SECRET })

beforeAll(async () => {
  ;[ann, bob] = await Promise.all([signIn('ann'), signIn('bob')])
  // More lenient than any origin should be: it answers every address, and says whose answer it is.
  const origin = async (request: Request) => {
    const identity = await identify(request)
    return Response.json({ secret: identity === null ? 'of nobody' : `of ${identity.id}` })
  }
  edge = await startEdge({ manifest: MANIFEST, origin })
})

afterAll(() => edge?.stop())

beforeEach(() => {
  edge.cdn.entries.clear()
  edge.cdn.fetched.length = 0
  edge.cdn.purgeCalls.length = 0
  edge.cdn.cachesByDefault = false
})

/** Ann, the victim, has read her notes, and the CDN has them. */
async function annHasRead(path = NOTES): Promise<void> {
  expect((await edge.fetch(path, { headers: bearer(ann) })).text).toBe('{"secret":"of ann"}')
}

const isHit = ({ headers }: Received) => headers.get('Cache-Status')?.endsWith('mizan-edge; hit')

describe('a token', () => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = (more: object = {}) => ({
    sub: 'ann',
    aud: 'shop',
    iss: 'https://login.example',
    exp: Math.floor(Date.now() / 1000) + 3600,
    ...more,
  })
  /** Signed as the login signs, whatever is in it; a library would refuse. */
  const signed = (payload: object, header: object = {}) => {
    const head = `${part({ alg: 'HS256', ...header })}.${part(payload)}`
    return `${head}.${createHmac('sha256', LOGIN_SECRET).update(head).digest('base64url')}`
  }

  // To be somebody by a claim that is no name, and that becomes one when it is written into the key.
  test.each<[string, object]>([
    ['a number', { sub: 5 }],
    ['an array of one name', { sub: ['ann'] }],
    ['an object that has a name', { sub: { toString: 'ann' } }],
    ['true', { sub: true }],
    ['null', { sub: null }],
    ['the empty text', { sub: '' }],
    ['half a surrogate pair', { sub: '\ud800' }],
    ['another claim', { sub: undefined, user: 'ann', user_id: 'ann' }],
    ['a member of every object', { sub: undefined, __proto__: { sub: 'ann' } }],
  ])('whose subject is %s names nobody', async (_name, more) => {
    await annHasRead()
    const token = signed(claims(more))
    expect((await edge.fetch(NOTES, { headers: bearer(token) })).text).toBe('{"secret":"of nobody"}')
    expect(edge.cdn.entries.size).toBe(1)
  })

  test.each<[string, object]>([
    ['for several audiences, not this one', { aud: ['bank', 'shop2'] }],
    ['for no audience', { aud: undefined }],
    ['for an audience that begins like this one', { aud: 'shop.attacker.example' }],
    ['of an issuer that begins like this one', { iss: 'https://login.example.attacker.example' }],
    ['of an issuer with a slash more', { iss: 'https://login.example/' }],
    ['that expires as text', { exp: '9999999999' }],
    ['that never began', { nbf: 9_999_999_999 }],
    ['that expired in milliseconds', { exp: -1 }],
  ])('%s names nobody', async (_name, more) => {
    await annHasRead()
    expect((await edge.fetch(NOTES, { headers: bearer(signed(claims(more))) })).text).toContain('of nobody')
  })

  // To choose how one's own token is verified.
  test('that asks to be verified in a way of its own names nobody', async () => {
    await annHasRead()
    const [header = '', payload = '', signature = ''] = signed(claims()).split('.')
    const unsigned = ['none', 'None', 'NONE', 'nOnE', '', 'HS256 ', 'hs256'].map(
      (alg) => `${part({ alg })}.${payload}.`,
    )
    const forged = [
      ...unsigned,
      signed(claims(), { crit: ['exp'], exp: 1 }),
      signed(claims(), { b64: false, crit: ['b64'] }),
      `${header}.${payload}`,
      `${header}.${payload}.`,
      `${header}.${payload}.${signature}.${signature}`,
      `${header}.${part(claims({ sub: 'bob' }))}.${signature}`,
      `${header}.${payload}.${signature.slice(0, -2)}`,
      `.${payload}.${signature}`,
      `${header}.${payload}.${signature}`.replaceAll('.', '%2E'),
    ]
    for (const token of forged) {
      expect((await edge.fetch(NOTES, { headers: bearer(token) })).text, token).toBe('{"secret":"of nobody"}')
    }
  })

  // To have one header checked by the edge and the other one by the origin.
  test.each<[string, (ann: string, bob: string) => [string, string][]]>([
    [
      'beside another token',
      (ann, bob) => [
        ['Authorization', `Bearer ${bob}`],
        ['Authorization', `Bearer ${ann}`],
      ],
    ],
    ['behind another token', (ann, bob) => [['Authorization', `Bearer ${bob}, Bearer ${ann}`]]],
    ['behind another scheme', (ann) => [['Authorization', `Basic YTpi, Bearer ${ann}`]]],
    [
      'under another name',
      (ann) => [
        ['X-Authorization', `Bearer ${ann}`],
        ['Proxy-Authorization', `Bearer ${ann}`],
      ],
    ],
    ['in a cookie', (ann) => [['Cookie', `Authorization=Bearer ${ann}; token=${ann}`]]],
  ])('%s names nobody', async (_name, headersOf) => {
    await annHasRead()
    expect(await raw(headersOf(ann, bob))).toBe('{"secret":"of nobody"}')
  })

  /** Sends headers twice, which no fetch would. */
  function raw(headers: [string, string][]): Promise<string> {
    return new Promise((resolve, reject) => {
      const asking = httpRequest(
        new URL(NOTES, edge.address),
        { headers: ['Host', 'shop.example', ...headers.flat()] as never },
        (response) => {
          let text = ''
          response.setEncoding('utf8').on('data', (chunk) => {
            text += chunk
          })
          response.on('end', () => resolve(text))
        },
      )
      asking.on('error', reject).end()
    })
  }
})

describe('a token for public keys', () => {
  const PINNED = { audience: 'shop', issuer: 'https://login.example' }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const attacker = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const text = (value: object | Uint8Array) =>
    Buffer.from(value instanceof Uint8Array ? value : JSON.stringify(value)).toString('base64url')
  const payload = () => ({
    sub: 'ann',
    aud: 'shop',
    iss: 'https://login.example',
    exp: Math.floor(Date.now() / 1000) + 60,
  })

  async function identified(token: string): Promise<string | null> {
    const keys = [
      { ...(await exportJWK(rsa.publicKey)), kid: 'rsa', alg: 'RS256' },
      { ...(await exportJWK(curve.publicKey)), kid: 'curve', alg: 'ES256' },
    ]
    const verify = identifyJwt({ jwks: { keys }, algorithms: ['RS256', 'ES256'], ...PINNED })
    return verify(new Request('https://shop.example/', { headers: bearer(token) }), {})
  }

  const byKey = (header: object, key: KeyObject) => {
    const head = `${text(header)}.${text(payload())}`
    return `${head}.${text(signBytes('sha256', Buffer.from(head), { key, dsaEncoding: 'ieee-p1363' }))}`
  }
  const bySecret = (header: object, secret: Uint8Array) =>
    new SignJWT(payload()).setProtectedHeader(header as never).sign(secret)

  test('of the login names who it says', async () => {
    expect(await identified(byKey({ alg: 'RS256', kid: 'rsa' }, rsa.privateKey))).toBe('ann')
    expect(await identified(byKey({ alg: 'ES256', kid: 'curve' }, curve.privateKey))).toBe('ann')
  })

  // To sign with what everybody knows, which is a public key to the edge and might be a secret to its library.
  test.each(['RSA', 'curve'])('that is signed with the %s public key as a secret names nobody', async (name) => {
    const key = name === 'RSA' ? rsa.publicKey : curve.publicKey
    const jwk = await exportJWK(key)
    const secrets = [
      key.export({ type: 'spki', format: 'pem' }) as string,
      (key.export({ type: 'spki', format: 'pem' }) as string).trim(),
      key.export({ type: 'spki', format: 'der' }),
      JSON.stringify(jwk),
      Buffer.from(jwk.n ?? jwk.x ?? '', 'base64url'),
    ].map((secret) => (typeof secret === 'string' ? Buffer.from(secret) : secret))
    for (const secret of secrets) {
      for (const kid of ['rsa', 'curve', undefined]) {
        const padded = Buffer.concat([secret, Buffer.alloc(Math.max(0, 32 - secret.length))])
        expect(await identified(await bySecret({ alg: 'HS256', ...(kid && { kid }) }, padded))).toBeNull()
      }
    }
  })

  test('that brings or names a key of its own names nobody', async () => {
    const jwk = await exportJWK(attacker.publicKey)
    const thumbprint = createHash('sha256').update(JSON.stringify(jwk)).digest('base64url')
    const headers = [
      { alg: 'ES256', jwk },
      { alg: 'ES256', kid: 'curve', jwk },
      { alg: 'ES256', jku: 'https://attacker.example/jwks.json' },
      { alg: 'ES256', x5u: 'https://attacker.example/cert.pem', x5t: thumbprint },
      { alg: 'ES256', kid: '../../attacker' },
      { alg: 'ES256', kid: "curve' or '1'='1" },
      { alg: 'ES256', kid: '__proto__' },
      { alg: 'ES256', kid: 'constructor' },
      { alg: 'ES256', kid: ['curve'] },
      { alg: 'ES256', kid: 'rsa' },
    ]
    for (const header of headers)
      expect(await identified(byKey(header, attacker.privateKey)), JSON.stringify(header)).toBeNull()
    expect(await identified(byKey({ alg: 'RS256', kid: 'rsa' }, curve.privateKey))).toBeNull()
    expect(await identified(byKey({ alg: 'ES256', kid: 'curve' }, rsa.privateKey))).toBeNull()
  })

  // A signature of zeros verified for every key in some implementations.
  test('whose signature is nothing names nobody', async () => {
    const head = `${text({ alg: 'ES256', kid: 'curve' })}.${text(payload())}`
    for (const signature of [
      Buffer.alloc(64),
      Buffer.alloc(64, 0xff),
      Buffer.alloc(0),
      Buffer.alloc(1),
      Buffer.alloc(4096),
    ]) {
      expect(await identified(`${head}.${text(signature)}`)).toBeNull()
    }
  })
})

describe('a header', () => {
  // To speak to the origin in the name of the edge, even with an identity that was truly signed and overheard.
  test.each(['X-Mizan-Identity', 'x-mizan-identity', 'X-MIZAN-IDENTITY'])('%s of a client is removed', async (name) => {
    const overheard = await signIdentity(new Signer(secretBytes(SECRET)), 'ann')
    await annHasRead()
    for (const path of [NOTES, '/api/mizan/call/', '/api/mizan/ctx/unknown/', '/account', '/']) {
      for (const method of ['GET', 'POST', 'HEAD']) {
        const { text } = await edge.fetch(path, { method, headers: { [name]: overheard } })
        expect(text, `${method} ${path}`).not.toContain('of ann')
      }
    }
    const asBob = await edge.fetch(NOTES, { headers: { [name]: overheard, ...bearer(bob) } })
    expect(asBob.text).toBe('{"secret":"of bob"}')
  })

  // To purge what others read, to have an answer believed cached, or to name an entry for it.
  test('of the protocol or the CDN means nothing from a client', async () => {
    const headers = {
      'X-Mizan-Invalidate': 'board, user, notes',
      'X-Mizan-Entry': 'user;user_id=6',
      'X-Mizan-Purge': 'done',
      'Cache-Status': 'mizan-edge; hit',
      'CF-Cache-Status': 'HIT',
      'Cache-Tag': 'ctx:board',
      'Cache-Control': 'only-if-cached, max-stale',
      'CDN-Cache-Control': 'max-age=31536000',
      'Surrogate-Key': 'ctx:board',
    }
    await edge.fetch('/api/mizan/ctx/board/')
    const read = await edge.fetch('/api/mizan/ctx/user/?user_id=5', { headers })
    expect(read.headers.get('Cache-Status')).toBe('mizan-edge; fwd=miss')
    const called = await edge.fetch('/api/mizan/call/', { method: 'POST', body: '{}', headers })
    expect(called.headers.get('X-Mizan-Purge')).toBeNull()
    expect(called.headers.get('Cache-Status')).toBe('mizan-edge; fwd=bypass')
    expect(edge.cdn.purgeCalls).toEqual([])
    expect([...edge.cdn.entries.values()].map(({ tags }) => tags[0])).toEqual(['ctx:board', 'ctx:user'])
    expect(isHit(await edge.fetch('/api/mizan/ctx/board/'))).toBe(true)
  })

  // To decide how the CDN keeps a request, as only the Worker may: under another's key, or for as long as one likes.
  test('`cf` of a request decides nothing about how an entry is kept', async () => {
    await annHasRead()
    const [key = ''] = edge.cdn.entries.keys()
    const cf = {
      cacheEverything: true,
      cacheKey: key,
      cacheTags: ['x'],
      cacheTtl: 1e6,
      cacheTtlByStatus: { '100-599': 1e6 },
    }
    const asked = await edge.fetch(NOTES, { cf } as RequestInit)
    expect(asked.text).toBe('{"secret":"of nobody"}')
    await edge.fetch('/api/mizan/ctx/board/', { cf } as RequestInit)
    await edge.fetch('/api/mizan/call/', { method: 'POST', body: '{}', cf } as RequestInit)
    expect((await edge.fetch(NOTES, { headers: bearer(ann) })).text).toBe('{"secret":"of ann"}')
    expect([...edge.cdn.entries.values()].every(({ tags }) => !tags.includes('x'))).toBe(true)
    expect(edge.cdn.entries.size).toBe(2)
  })

  // To have a part or nothing kept for everybody.
  test.each<[string, RequestInit]>([
    ['HEAD', { method: 'HEAD' }],
    ['a range', { headers: { Range: 'bytes=0-3' } }],
    ['a condition', { headers: { 'If-None-Match': '*', 'If-Modified-Since': new Date().toUTCString() } }],
  ])('%s of a user leaves the whole for the next request', async (_name, init) => {
    await edge.fetch(NOTES, { ...init, headers: { ...init.headers, ...bearer(ann) } })
    const next = await edge.fetch(NOTES, { headers: bearer(ann) })
    expect([next.status, next.text, isHit(next)]).toEqual([200, '{"secret":"of ann"}', true])
  })
})

describe('an address', () => {
  // A victim is led to an address that looks like a picture or a style sheet, the zone keeps the answer, and the attacker
  // asks for the same address. The zone here keeps whatever no request forbids it to keep.
  test.each([
    `${NOTES}picture.png`,
    `${NOTES}?v=.css`,
    `${NOTES}style.css?user=ann`,
    `${NOTES}%2e%2e/style.css`,
    `${NOTES};.js`,
    `${NOTES}%00.js`,
    `${NOTES}%23.js`,
    '/api/mizan/ctx/notes',
    '/api/mizan/ctx/notes//',
    '/api/mizan//ctx/notes/',
    '/api/mizan/ctx/other/../notes/',
    '/api/mizan/ctx/NOTES/',
    '/api/mizan/call/',
    '/api/mizan/',
  ])('%s shows nobody what the zone kept of a victim', async (path) => {
    edge.cdn.cachesByDefault = true
    expect((await edge.fetch(path, { headers: bearer(ann) })).text).toBe('{"secret":"of ann"}')
    expect((await edge.fetch(path)).text).toBe('{"secret":"of nobody"}')
    expect((await edge.fetch(path, { headers: bearer(bob) })).text).toBe('{"secret":"of bob"}')
  })

  // To ask for another's entry by the name that it has at the CDN.
  test('with the key of another’s entry is not that entry', async () => {
    await annHasRead()
    const [key = ''] = edge.cdn.entries.keys()
    const { pathname, search } = new URL(key)
    for (const headers of [{}, bearer(bob)]) {
      for (const path of [
        pathname + search,
        `${pathname}${search}&_mizan_key=x`,
        `${pathname}?_mizan_key=x&${search.slice(1)}`,
      ]) {
        expect((await edge.fetch(path, { headers })).text).not.toContain('of ann')
      }
    }
  })

  // To leave the origin: what follows two slashes or an @ is a host to a careless parser.
  test.each([
    '//attacker.example/api/mizan/ctx/board/',
    '/@attacker.example/',
    '/\\attacker.example/',
    '/%2f%2fattacker.example/',
  ])('%s stays at the origin', async (path) => {
    await edge.fetch(path)
    expect(edge.cdn.fetched.map(({ url }) => url.origin)).toEqual(['https://origin.example'])
  })
})

test('users with names alike do not meet, in a zone without cache keys too', async () => {
  edge.cdn.honoursCacheKey = false
  try {
    const names = [
      'ann',
      'Ann',
      'ann ',
      'a\u0430nn',
      '\uff41nn',
      'Zo\u00eb',
      'Zoe\u0308',
      '5',
      '05',
      'null',
      '__proto__',
      'a&b',
      'a%26b',
    ]
    const tokens = await Promise.all(names.map((name) => signIn(name)))
    for (let round = 1; round <= 2; round++) {
      for (const [index, name] of names.entries()) {
        const { text } = await edge.fetch(NOTES, { headers: bearer(tokens[index]) })
        expect(text).toBe(JSON.stringify({ secret: `of ${name}` }))
      }
    }
    expect(edge.cdn.entries.size).toBe(names.length)
  } finally {
    edge.cdn.honoursCacheKey = true
  }
})
