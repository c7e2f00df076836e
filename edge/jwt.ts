/** Who asks, by a JSON Web Token in the `Authorization` header. */

import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose'
import { pick } from '../common/pick.ts'
import { codedError } from './errors.ts'
import { longSecretBytes } from './signer.ts'

/** What a token must be like. Everything that a token says of itself is pinned here. */
export interface JwtOptions<Env = unknown> {
  /** The issuer's public keys, or where they are. Either these or `secret`. */
  jwks?: string | JSONWebKeySet
  /** The secret shared with the issuer, at least 32 bytes. A function reads it from the Worker's bindings. */
  secret?: string | Uint8Array | ((env: Env) => string | Uint8Array)
  /** The only algorithms that are accepted: `HS…` with a secret, the others with keys. */
  algorithms: readonly string[]
  /** Whom the token must be for. */
  audience: string | string[]
  /** Who must have issued it. */
  issuer: string | string[]
  /** Seconds that the issuer's clock may differ by. Default 5, at most 60. */
  clockTolerance?: number
}

const SYMMETRIC = /^HS(256|384|512)$/
const ASYMMETRIC = /^((RS|PS|ES)(256|384|512)|EdDSA|Ed25519)$/
const MAX_CLOCK_TOLERANCE = 60

/**
 * Identifies the user by the `sub` of a verified token; `exp` is required too. Without a token, or with one that does not
 * hold, there is no identity, and the Worker caches nothing for that request.
 */
export function identifyJwt<Env = unknown>(
  options: JwtOptions<Env>,
): (request: Request, env: Env) => Promise<string | null> {
  const {
    jwks,
    secret,
    algorithms,
    audience,
    issuer,
    clockTolerance = 5,
  } = pick(options, ['jwks', 'secret', 'algorithms', 'audience', 'issuer', 'clockTolerance'])
  check((jwks === undefined) !== (secret === undefined), 'jwks', 'either this or options.secret must be given')
  const suitable = secret === undefined ? ASYMMETRIC : SYMMETRIC
  check(
    Array.isArray(algorithms) && algorithms.length > 0 && algorithms.every((name) => suitable.test(name)),
    'algorithms',
    `must be those that ${secret === undefined ? 'public keys' : 'a secret'} can verify, at least one`,
  )
  check(isNames(audience), 'audience', 'must be given')
  check(isNames(issuer), 'issuer', 'must be given')
  check(
    clockTolerance >= 0 && clockTolerance <= MAX_CLOCK_TOLERANCE,
    'clockTolerance',
    `must be at most ${MAX_CLOCK_TOLERANCE} seconds`,
  )
  const rules = {
    algorithms: [...algorithms],
    audience,
    issuer,
    clockTolerance,
    requiredClaims: ['sub', 'exp'],
  }
  const keyOf = keySource(jwks, secret)
  return async (request, env) => {
    const token = /^Bearer +([^ ]+)$/i.exec(request.headers.get('Authorization') ?? '')?.[1]
    if (token === undefined) return null
    try {
      const { payload } = await jwtVerify(token, keyOf(env), rules)
      return payload.sub ?? null
    } catch (error) {
      if (error instanceof errors.JOSEError) return null
      throw error
    }
  }
}

function keySource<Env>(jwks: JwtOptions['jwks'], secret: JwtOptions<Env>['secret']): (env: Env) => JWTVerifyGetKey {
  if (jwks !== undefined) {
    const keys = typeof jwks === 'string' ? createRemoteJWKSet(new URL(jwks)) : createLocalJWKSet(jwks)
    return () => keys
  }
  return (env) => {
    const bytes = longSecretBytes(typeof secret === 'function' ? secret(env) : secret, 'options.secret')
    return async () => bytes
  }
}

function isNames(value: unknown): boolean {
  return (
    (typeof value === 'string' && value !== '') || (Array.isArray(value) && value.length > 0 && value.every(isNames))
  )
}

function check(holds: boolean, option: string, rule: string): void {
  if (!holds) throw codedError('ERR_MIZAN_OPTION', `options.${option}: ${rule}`)
}
