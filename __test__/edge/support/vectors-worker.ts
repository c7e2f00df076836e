/** Runs vectors.json inside workerd: what `edge/` makes of each, as JSON. */

import { canonicalForm, encodeCall } from '../../../edge/canonical.ts'
import { deriveCacheKey } from '../../../edge/key.ts'
import type { Call, Reject, Results, Vector, Vectors, Wire } from './vectors.ts'

declare const VECTORS: string
declare const EXPRESSIONS: Readonly<Record<string, () => unknown>>

const vectors: Vectors = JSON.parse(VECTORS)

export default {
  async fetch(): Promise<Response> {
    const results: Results = {
      vectors: await Promise.all(vectors.vectors.map(derive)),
      rejects: await Promise.all(
        vectors.rejects.filter(({ expressibleIn }) => expressibleIn.includes('js')).map(rejected),
      ),
      contexts: [...vectors.contexts.accept, ...vectors.contexts.reject].map((context) => [
        context,
        formOrCode(context),
      ]),
    }
    return Response.json(results)
  },
}

type Arguments = Parameters<typeof deriveCacheKey>

async function derive(vector: Call & Vector): Promise<Vector> {
  const [secret, ...call] = decodeCall(vector)
  const key = vector.key === null ? null : await deriveCacheKey(secret, ...call)
  return { name: vector.name, canonical: encodeCall(...call), key }
}

async function rejected(reject: Call & Reject): Promise<Results['rejects'][number]> {
  const { name } = reject
  const call = reject.js === undefined ? decodeCall(reject) : ['secret', 'user', EXPRESSIONS[name]?.()]
  try {
    await deriveCacheKey(...(call as Arguments))
    return { name, code: 'accepted' }
  } catch (error) {
    return { name, code: codeOf(error) }
  }
}

function formOrCode(context: string): string {
  try {
    return canonicalForm(context)
  } catch (error) {
    return codeOf(error)
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : `no code: ${error}`
}

function decodeCall({ secret, secretHex, context, params, userId, rev }: Call): Arguments {
  const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16))
  const given = secretHex ? bytes(secretHex) : decode(secret)
  return [given, decode(context), decode(params), decode(userId), decode(rev)] as Arguments
}

/** The marks of vectors.json: see its notes. */
function decode(wire: Wire): unknown {
  if (Array.isArray(wire)) return wire.map(decode)
  if (typeof wire !== 'object' || wire === null) return wire
  if ('$int' in wire) return BigInt(wire.$int as string)
  if ('$float' in wire) return Number((wire.$float as string).replace('inf', 'Infinity').replace('nan', 'NaN'))
  if ('$utf16' in wire) {
    const units = (wire.$utf16 as string).match(/.{4}/g) ?? []
    return String.fromCharCode(...units.map((unit) => Number.parseInt(unit, 16)))
  }
  if ('$map' in wire) return objectOf(wire.$map as [Wire, Wire][])
  if ('$nest' in wire) {
    let inner: unknown = 'x'
    for (let level = 1; level < (wire.$nest as number); level++) inner = [inner]
    return { a: inner }
  }
  if ('$repeat' in wire) {
    const [name, text, count] = wire.$repeat as [string, string, number]
    return { [name]: text.repeat(count) }
  }
  return objectOf(Object.entries(wire))
}

/** Defines rather than assigns: `__proto__` is a name like any other. */
function objectOf(members: [Wire, Wire][]): object {
  const object = {}
  for (const [name, value] of members) {
    Object.defineProperty(object, decode(name) as string, { value: decode(value), enumerable: true })
  }
  return object
}
