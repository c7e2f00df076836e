/**
 * `npm run fuzz:headers -- [--quiet 2] [--seed n]`: what strangers write and TypeScript reads (invalidation headers, query
 * strings, signed identities, tokens), made of pieces of the right grammar and of noise, until for so many minutes no new
 * block of the code that reads them has run.
 */

import { randomInt } from 'node:crypto'
import { Session } from 'node:inspector/promises'
import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { z } from 'zod'
import { identityFromEdge, signIdentity } from '../edge/identity.ts'
import { identifyJwt } from '../edge/index.ts'
import { declaredParams } from '../edge/query.ts'
import { Signer, secretBytes } from '../edge/signer.ts'
import { HttpError } from '../origin/http-errors.ts'
import { formatEntry, formatInvalidation, parseInvalidation } from '../origin/invalidation-header.ts'
import { readParameters } from '../origin/parameters.ts'

const READERS =
  /\/(edge\/(identity|jwt|query|signer|text)|origin\/(invalidation-header|parameters|scalar|code-points))\.ts$/
const CASES_IN_A_ROUND = 2000

const { values } = parseArgs({ options: { quiet: { type: 'string', default: '2' }, seed: { type: 'string' } } })
const quietMinutes = Number(values.quiet)
const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed)

// What is read

const noise = fc.string({ unit: 'binary', maxLength: 8 })
/** Texts of pieces that mean something where they stand, and of some that do not. */
const textOf = (...pieces: string[]) =>
  fc
    .array(fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...pieces) }, { weight: 1, arbitrary: noise }))
    .map((all) => all.join(''))

const escapes = [
  '%',
  '%2',
  '%2C',
  '%3B',
  '%3D',
  '%0d%0a',
  '%C3%A9',
  '%c3',
  '%ff',
  '%ED%A0%80',
  '%00',
  '%zz',
  '+',
  '%2B',
]
const header = textOf(
  'user',
  'board',
  'user_id',
  'a',
  '5',
  ';',
  '=',
  ',',
  ', ',
  ' ',
  '\t',
  '__proto__',
  'constructor',
  '-',
  '.',
  '*',
  ...escapes,
)
const query = textOf(
  'user_id',
  'page',
  'constructor',
  '=',
  '=5',
  '&',
  '&&',
  '5',
  '?',
  '#',
  ';',
  '[]',
  '__proto__',
  'é',
  '😀',
  ...escapes,
)
const identity = textOf(
  '1',
  `${now()}`,
  `${now() + 61}`,
  '.',
  'ann',
  'a'.repeat(64),
  '0'.repeat(64),
  '0'.repeat(63),
  'A',
  ', ',
  ...escapes,
)
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const claims = { sub: 'ann', aud: 'shop', iss: 'login', exp: now() + 3600 }
const token = textOf(
  'Bearer ',
  'bearer',
  ' ',
  '.',
  part({ alg: 'HS256' }),
  part({ alg: 'none' }),
  part(claims),
  part(null),
  'e30',
  '=',
  '-_',
  'a',
  ', ',
)

function now(): number {
  return Math.floor(Date.now() / 1000)
}

// What must hold

const SECRET = 'a secret of the campaign, 32 bytes or more'
const signer = new Signer(secretBytes(SECRET))
const identify = identityFromEdge({ secret: SECRET })
const identifyToken = identifyJwt({ secret: SECRET, algorithms: ['HS256'], audience: 'shop', issuer: 'login' })
const schema = z.object({
  user_id: z.string().optional(),
  page: z.string().optional(),
  constructor: z.string().optional(),
})
const parameters = { context: 'user', schema, names: ['constructor', 'page', 'user_id'] }

function assert(holds: boolean, rule: string): void {
  if (!holds) throw new Error(rule)
}

const equal = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other)
const sorted = (object: object) => Object.entries(object).sort(([one], [other]) => (one < other ? -1 : 1))

/** What is read of a header is legal in a key, and written again it is read the same. */
function checkHeader(text: string): void {
  const targets = parseInvalidation(text)
  for (const { context, params } of targets) {
    assert(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(context), 'a context that no key has')
    assert(text.includes(context), 'a context that the header does not name')
    if (params === null) continue
    assert(
      Object.keys(params).every((name) => /^[a-z][a-z0-9_]*$/.test(name)),
      'a name that no parameter has',
    )
    const written = formatInvalidation([{ context, params }])
    const long = written === context
    assert(long || equal(parseInvalidation(written), [{ context, params }]), 'written again it is another target')
    assert(long || formatEntry(context, params) === written, 'an entry has another name than its purge')
    assert(/^[\w.~;=%-]*$/.test(written), 'a character that is not unreserved')
  }
}

/** Where the edge reads parameters, the origin reads the same; where it reads none, it asks the origin. */
async function checkQuery(text: string): Promise<void> {
  const atTheEdge = declaredParams(`?${text}`, parameters.names)
  let atTheOrigin: unknown = null
  try {
    atTheOrigin = await readParameters(parameters, text)
  } catch (error) {
    if (!(error instanceof HttpError)) throw error
  }
  if (atTheEdge === null) return
  assert(atTheOrigin !== null && equal(sorted(atTheEdge), sorted(atTheOrigin as object)), 'two readings of one query')
}

/** Nobody but the holder of the secret names anybody. */
async function checkIdentity(text: string): Promise<void> {
  assert(
    (await identify({ headers: new Headers([['X-Mizan-Identity', printable(text)]]) })) === null,
    'a forged identity',
  )
}

async function checkToken(text: string): Promise<void> {
  const request = new Request('https://shop.example/', { headers: [['Authorization', printable(text)]] })
  assert((await identifyToken(request, {})) === null, 'a forged token')
}

/** What a header can carry at all. */
function printable(text: string): string {
  return text.replace(/[^\t\x20-\x7e\x80-\xff]/g, '?')
}

/** Whoever was signed is who is read. */
async function checkSigned(user: string): Promise<void> {
  const signed = await signIdentity(signer, user)
  const read = await identify({ headers: new Headers([['X-Mizan-Identity', signed]]) })
  assert(read?.id === user, 'somebody else than was signed')
}

const properties = [
  fc.asyncProperty(header, async (text) => checkHeader(text)),
  fc.asyncProperty(query, checkQuery),
  fc.asyncProperty(identity, checkIdentity),
  fc.asyncProperty(token, checkToken),
  fc.asyncProperty(fc.string({ unit: 'binary', minLength: 1 }), checkSigned),
]

// How far it has come

const session = new Session()
session.connect()
await session.post('Profiler.enable')
await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
const blocks = new Map<string, boolean>()

/** How many blocks of the readers have run, of how many that V8 tells apart. */
async function covered(): Promise<number> {
  const { result } = await session.post('Profiler.takePreciseCoverage')
  for (const { url, functions } of result.filter((script) => READERS.test(script.url))) {
    for (const { startOffset, endOffset, count } of functions.flatMap(({ ranges }) => ranges)) {
      const block = `${url} ${startOffset} ${endOffset}`
      blocks.set(block, count > 0 || blocks.get(block) === true)
    }
  }
  return [...blocks.values()].filter((ran) => ran).length
}

const began = Date.now()
let [newestAt, most, rounds] = [began, 0, 0]
while (Date.now() - newestAt < quietMinutes * 60_000) {
  for (const property of properties) {
    await fc.assert(property as fc.IAsyncProperty<[string]>, { seed: seed + rounds, numRuns: CASES_IN_A_ROUND })
  }
  rounds += 1
  const now = await covered()
  if (now > most) [most, newestAt] = [now, Date.now()]
}
session.disconnect()
const cases = (rounds * properties.length * CASES_IN_A_ROUND).toLocaleString('en')
const minutes = ((Date.now() - began) / 60_000).toFixed(1)
console.log(`${cases} texts, seed ${seed}, ${minutes} min: ${most} of ${blocks.size} blocks of the readers have run,`)
console.log(`nothing new in the last ${quietMinutes} min, and nothing read as what it is not`)
const missed = [...blocks].filter(([, ran]) => !ran).map(([block]) => block.slice(block.lastIndexOf('/') + 1))
if (missed.length > 0) console.log(`never run: ${missed.join(', ')}`)
