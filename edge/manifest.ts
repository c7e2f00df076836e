/** What the origin's manifest (`protocol.md` §7) tells the Worker. */

import { pick } from '../common/pick.ts'
import { isContext } from './canonical.ts'
import { codedError } from './errors.ts'

/** The manifest that `origin.manifest()` returns, typed as an imported JSON file is. */
export interface EdgeManifest {
  readonly version: number
  /** Whether the origin tells the Worker which entry a response is. */
  readonly namesEntries?: boolean
  /** The path of mutation calls. */
  readonly call: string
  readonly contexts: Readonly<Record<string, EdgeManifestContext>>
  readonly mutations: Readonly<Record<string, { readonly affects: readonly string[] }>>
}

export interface EdgeManifestContext {
  /** The paths it is served at. */
  readonly endpoints: readonly string[]
  readonly params: readonly string[]
  readonly rev: number
  /** Seconds; 0 when it must not be cached. */
  readonly ttl: number
  /** `public` or `user`. */
  readonly scope: string
}

/** A context that the Worker serves. */
export interface Route {
  readonly name: string
  readonly params: readonly string[]
  readonly rev: number
  /** Whole seconds; 0 when nothing is cached. */
  readonly ttl: number
  readonly userScoped: boolean
}

/** Where the Worker finds what it serves. */
export class Routes {
  /** The opening of every path of the protocol. */
  readonly base: string
  /**
   * Whether the origin names the entry that each response of a context is. Without that the Worker cannot know which
   * spellings of a parameter mean the same, and purges whole contexts.
   */
  readonly namesEntries: boolean
  /** Every context that some mutation changes. */
  readonly affected: readonly string[]
  readonly #byName = new Map<string, Route>()
  readonly #byEndpoint = new Map<string, Route>()

  constructor(manifest: EdgeManifest) {
    if (!isRecord(manifest)) throw codedError('ERR_MIZAN_OPTION', 'options.manifest: must be an object')
    check(manifest.version === 1, 'version', 'must be 1')
    check(isPath(manifest.call) && manifest.call.endsWith('/call/'), 'call', 'must be a path that ends with /call/')
    check(isRecord(manifest.contexts), 'contexts', 'must be an object')
    check(isRecord(manifest.mutations), 'mutations', 'must be an object')
    this.base = manifest.call.slice(0, -'call/'.length)
    this.namesEntries = pick(manifest, ['namesEntries']).namesEntries === true
    for (const [name, context] of Object.entries(manifest.contexts)) this.#add(name, context)
    for (const [name, mutation] of Object.entries(manifest.mutations)) {
      check(isTexts(mutation?.affects), `mutations.${name}.affects`, 'must be an array of names')
    }
    this.affected = [...new Set(Object.values(manifest.mutations).flatMap(({ affects }) => affects))]
  }

  named(name: string): Route | undefined {
    return this.#byName.get(name)
  }

  at(path: string): Route | undefined {
    return this.#byEndpoint.get(path)
  }

  #add(name: string, context: EdgeManifestContext): void {
    const where = `contexts.${name}`
    check(isContext(name), `contexts[${JSON.stringify(name)}]`, 'must be a name that is legal in a key')
    check(isRecord(context), where, 'must be an object')
    const { endpoints, params, rev, ttl, scope } = context
    check(isTexts(endpoints) && endpoints.every(isPath), `${where}.endpoints`, 'must be an array of paths')
    check(isTexts(params) && params.every(isParameter), `${where}.params`, 'must be an array of names in snake_case')
    check(Number.isSafeInteger(rev) && rev >= 0, `${where}.rev`, 'must be an integer in [0, 2^53-1]')
    check(Number.isFinite(ttl) && ttl >= 0, `${where}.ttl`, 'must be a number of seconds')
    // A scope that is misspelt must not make a public context of a private one.
    check(scope === 'public' || scope === 'user', `${where}.scope`, 'must be "public" or "user"')
    const route = { name, params, rev, ttl: Math.floor(ttl), userScoped: scope === 'user' }
    this.#byName.set(name, route)
    for (const endpoint of endpoints) this.#byEndpoint.set(endpoint, route)
  }
}

function check(holds: boolean, where: string, rule: string): asserts holds {
  if (!holds) throw codedError('ERR_MIZAN_OPTION', `options.manifest.${where}: ${rule}`)
}

function isRecord(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function isParameter(name: string): boolean {
  return /^[a-z][a-z0-9_]*$/.test(name)
}

function isPath(value: unknown): boolean {
  return typeof value === 'string' && value.startsWith('/')
}
