/** HMAC-SHA256 on WebCrypto. */

import { codedError } from './errors.ts'
import { isWellFormed } from './text.ts'

const LEAST_SECRET_BYTES = 32

/** Signs with one secret, which is imported once. */
export class Signer {
  readonly #imported: ReturnType<typeof crypto.subtle.importKey>

  constructor(secret: Uint8Array<ArrayBuffer>) {
    // The length is an option, which could otherwise be somebody's on `Object.prototype`.
    const algorithm = { name: 'HMAC', hash: 'SHA-256', length: 8 * secret.length }
    this.#imported = crypto.subtle.importKey('raw', secret, algorithm, false, ['sign', 'verify'])
  }

  /** The signature of a text, in lowercase hexadecimal. */
  async sign(text: string): Promise<string> {
    const digest = await crypto.subtle.sign('HMAC', await this.#imported, encode(text))
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('')
  }

  /** Whether a signature is that of the text, found out in the same time whatever the signature. */
  async verify(text: string, signature: string): Promise<boolean> {
    const bytes = Uint8Array.from(signature.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16))
    return crypto.subtle.verify('HMAC', await this.#imported, bytes, encode(text))
  }
}

/** A secret as its bytes. Any length but none will do to derive a key. */
export function secretBytes(secret: unknown): Uint8Array<ArrayBuffer> {
  if (typeof secret === 'string' && !isWellFormed(secret)) {
    throw codedError('ERR_MIZAN_SURROGATE', 'secret: the text has an unpaired surrogate')
  }
  const bytes = typeof secret === 'string' ? encode(secret) : secret
  if (!(bytes instanceof Uint8Array) || bytes.length === 0) {
    throw codedError('ERR_MIZAN_SECRET', 'secret: must be text or bytes, and not empty')
  }
  return new Uint8Array(bytes)
}

/** A secret that guards a configured cache. */
export function longSecretBytes(secret: unknown, name: string): Uint8Array<ArrayBuffer> {
  const bytes = secretBytes(secret)
  if (bytes.length < LEAST_SECRET_BYTES) {
    throw codedError('ERR_MIZAN_SECRET', `${name}: must have at least ${LEAST_SECRET_BYTES} bytes`)
  }
  return bytes
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>
}
