/** All of vectors.json, in Node, Python and Rust. */

import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { deriveCacheKey } from '../../cache/index.ts'
import { native } from '../../cache/native.ts'
import { addonParties, SECRET } from '../support/cases-addon.ts'
import { type Filter, type Outcome, type Party, python, rust } from '../support/cases-parties.ts'
import { type Call, decode, type Shape } from '../support/cases-wire.ts'

interface Vector extends Call {
  name: string
  canonical: string
  hmac: string
  /** null where the context is legal in the canonical form, but not in a key. */
  key: string | null
}

interface Reject extends Partial<Call> {
  name: string
  js?: string
  py?: string
  expressibleIn: string[]
}

const file: {
  vectors: Vector[]
  rejects: Reject[]
  contexts: { accept: string[]; reject: string[] }
  purge: { purge: string; key: string; matches: boolean }[]
} = JSON.parse(readFileSync('__test__/vectors.json', 'utf8'))
const vectors = file.vectors.filter(({ key }) => key !== null)
const canonicalOnly = file.vectors.filter(({ key }) => key === null)

const simplest: Call = {
  secret: SECRET,
  context: 'user',
  params: null,
  userId: null,
  rev: 0,
}
const plain: Shape = { prototype: 'Object', leavesOut: false }

/** What a refusal must say, by the beginning of the reject's name: its code and the place that its message names. */
const refusals: [name: RegExp, code: string, place: RegExp][] = [
  [/^lone_in_context$/, 'ERR_MIZAN_SURROGATE', /^context\b/],
  [/^lone_in_secret$/, 'ERR_MIZAN_SURROGATE', /^secret\b/],
  [/^(lone_|py_split_pair$)/, 'ERR_MIZAN_SURROGATE', /^params\.a\b/],
  [/^user_/, 'ERR_MIZAN_USER', /^user(Id|_id)\b/],
  [/^rev_/, 'ERR_MIZAN_REV', /^rev\b/],
  [/^context_/, 'ERR_MIZAN_CONTEXT', /^context\b/],
  [/^secret_/, 'ERR_MIZAN_SECRET', /^secret\b/],
  [/^depth_/, 'ERR_MIZAN_DEPTH', /^params\.a\[0\]/],
  [/^js_cyclic$/, 'ERR_MIZAN_DEPTH', /^params\.a\.a\b/],
  [/^canonical_over_1MiB$/, 'ERR_MIZAN_SIZE', /^params\.a\b/],
  [/^(params_list|py_.*_keys?)$/, 'ERR_MIZAN_PARAM_TYPE', /^params\b/],
  [/^(js|py)_/, 'ERR_MIZAN_PARAM_TYPE', /^params\.a\b/],
  [/^(nan|inf|float_|int_)/, 'ERR_MIZAN_PARAM_NUMBER', /^params\.a\b/],
]

let inPython: Filter
let inRust: Filter
const parties: { name: string; language: string; party: () => Party }[] = [
  ...addonParties.map((party) => ({ name: party.name, language: party.language, party: () => party })),
  { name: 'Python', language: 'py', party: () => inPython },
  { name: 'Rust', language: 'rs', party: () => inRust },
]

beforeAll(async () => {
  inPython = python()
  inRust = rust()
  await inRust.ready()
}, 600_000)

afterAll(async () => {
  await Promise.all([inPython.close(), inRust.close()])
})

async function ask(party: Party, call: Call): Promise<Outcome> {
  const [outcome] = await party.answer([{ call, shape: plain }])
  return outcome as Outcome
}

describe.each(parties)('$name', ({ language, party }) => {
  test.each(vectors)('derives the key of $name', async (vector) => {
    const outcome = await ask(party(), vector)
    expect(outcome).toHaveProperty('key', vector.key)
    if (language !== 'js') expect(outcome).toHaveProperty('canonical', vector.canonical)
  })

  test.each(file.rejects.filter((reject) => reject.expressibleIn.includes(language)))(
    'refuses $name',
    async ({ name, js, py, ...call }) => {
      const [, code, place] = refusals.find(([names]) => names.test(name)) ?? [name, 'no code is expected', /^$/]
      let outcome: Outcome | undefined
      if (py !== undefined) [outcome] = await inPython.ask([{ ...simplest, py }])
      else outcome = await ask(party(), { ...simplest, ...call, ...(js !== undefined && { params: { $js: js } }) })
      expect(outcome).toEqual(expect.objectContaining({ error: code, message: expect.stringMatching(place) }))
    },
  )

  test.each(file.contexts.accept)('accepts the context %j', async (context) => {
    const outcome = await ask(party(), { ...simplest, context })
    expect(outcome).toHaveProperty('key', expect.stringMatching(new RegExp(`^ctx:${context}:[0-9a-f]{64}$`)))
  })

  test.each([...file.contexts.reject, ...canonicalOnly.map(({ context }) => context)])(
    'refuses the context %j',
    async (context) => {
      expect(await ask(party(), { ...simplest, context })).toHaveProperty('error', 'ERR_MIZAN_CONTEXT')
    },
  )
})

test('the addon has two ways to a canonical form, and the parties take both', () => {
  const spy = vi.spyOn(native, 'canonicalForm')
  try {
    deriveCacheKey(SECRET, 'user', { id: '1' })
    expect(spy).not.toHaveBeenCalled()
    deriveCacheKey(SECRET, 'user', { id: 'é' })
    expect(spy).toHaveBeenCalledOnce()
  } finally {
    spy.mockRestore()
  }
})

test.each(canonicalOnly)('Python writes the canonical form of $name', async (vector) => {
  const [outcome] = await inPython.ask([{ ...vector, canonicalOnly: true }])
  expect(outcome).toHaveProperty('canonical', vector.canonical)
})

test.each(file.vectors)(
  'the digest of $name is that of its canonical form',
  ({ secret, secretHex, canonical, hmac, key }) => {
    const signing = typeof secretHex === 'string' ? Buffer.from(secretHex, 'hex') : (decode(secret, plain) as string)
    expect(createHmac('sha256', signing).update(canonical).digest('hex')).toBe(hmac)
    if (key !== null) expect(key.endsWith(`:${hmac}`)).toBe(true)
  },
)

test.each(file.purge)('the pattern $purge matches $key: $matches', ({ purge, key, matches }) => {
  const literal = purge.replaceAll('?', '').replaceAll('.', '\\.')
  expect(purge).toMatch(/^ctx:[A-Za-z0-9_.-]+:\?{64}$/)
  expect(new RegExp(`^${literal}[^]{64}$`).test(key)).toBe(matches)
})

const pinSecret = process.env.MIZAN_PIN_SECRET
test.skipIf(!pinSecret)(
  `the first port's published pin${pinSecret ? '' : ' (skipped: its secret was never published; set MIZAN_PIN_SECRET to check it)'}`,
  async () => {
    const published = 'ctx:user:605a1ca5ad5994e9b765c8d1b330474c2a0d51a7b8fbbdc402f992da7ba902f6'
    const call = { ...simplest, secret: pinSecret as string, params: { user_id: '5' } }
    for (const { party } of parties) expect(await ask(party(), call)).toHaveProperty('key', published)
  },
)
