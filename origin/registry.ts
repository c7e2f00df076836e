import { pick } from '../common/pick.ts'
import { compareCodePoints } from './code-points.ts'
import type {
  Affected,
  ContextDefinition,
  ContextFunction,
  FunctionDefinition,
  Identity,
  MutationDefinition,
} from './definitions.ts'
import type { Parameters } from './parameters.ts'
import type { ObjectSchema } from './standard-schema.ts'
import { declaredNames } from './standard-schema.ts'

/** A registered context, with everything that its definition leaves to defaults decided. */
export interface Context {
  readonly name: string
  readonly parameters: Parameters
  readonly auth: boolean
  readonly rev: number
  /** Seconds; undefined for the default of the cache. */
  readonly ttl: number | undefined
  readonly cached: boolean
  readonly functions: ReadonlyMap<string, AnyContextFunction>
}

/** A registered mutation. */
export interface Mutation {
  readonly name: string
  readonly schema: ObjectSchema | null
  readonly auth: boolean
  readonly private: boolean
  readonly affects: readonly Effect[]
  readonly run: (args: never, call: never) => unknown
}

/** What a mutation does to one context. */
export interface Effect {
  readonly context: Context
  readonly params: AnyAffected['params']
  readonly user: AnyAffected['user']
}

type AnyContextFunction = ContextFunction<never, boolean, never>
type AnyContextDefinition = ContextDefinition<ObjectSchema, boolean, Identity>
type AnyMutationDefinition = MutationDefinition<ObjectSchema, boolean, Identity, unknown>
type AnyAffected = Affected<Record<string, unknown>, true>

const NAME = /^[a-z][a-z0-9_]{0,127}$/
const LONGEST_TTL = 315_360_000

/** What an origin serves. Everything that can be wrong with a definition is refused when it is registered. */
export class Registry {
  readonly contexts: Map<string, Context> = new Map()
  readonly mutations: Map<string, Mutation> = new Map()
  /** The context of each function. */
  readonly #functions = new Map<string, Context>()

  addContext(name: string, definition: AnyContextDefinition): void {
    checkName('context', name)
    refuseKnown('context', name, this.contexts)
    const where = `context ${name}`
    const { params, auth, functions: given } = readMembers(where, definition, ['params', 'auth', 'functions'])
    const functions = Object.entries(given).map(
      ([functionName, value]) => [functionName, normalised(`function ${functionName}`, value)] as const,
    )
    if (functions.length === 0) throw new TypeError(`${where}: it has no functions`)
    const ttls = functions.flatMap(([, { ttl }]) => ttl ?? [])
    const context: Context = {
      name,
      parameters: {
        context: name,
        schema: params ?? null,
        names: params === undefined ? [] : parameterNames(where, params),
      },
      auth: flag(where, 'auth', auth),
      rev: Math.max(...functions.map(([, { rev }]) => rev)),
      ttl: ttls.length === 0 ? undefined : Math.min(...ttls),
      cached: functions.every(([, { cache }]) => cache),
      functions: new Map(functions.map(([functionName, { run }]) => [functionName, run])),
    }
    for (const [functionName] of functions) {
      checkName('function', functionName)
      refuseKnown('function', functionName, this.#functions)
      if (functionName !== name) refuseKnown('context', functionName, this.contexts)
    }
    refuseKnown('function', name, this.#functions)
    this.contexts.set(name, context)
    for (const [functionName] of functions) this.#functions.set(functionName, context)
  }

  addMutation(name: string, definition: AnyMutationDefinition): Mutation {
    checkName('mutation', name)
    refuseKnown('mutation', name, this.mutations)
    const where = `mutation ${name}`
    const {
      args,
      auth: declaredAuth,
      private: declaredPrivate,
      affects = [],
      run,
    } = readMembers(where, definition, ['args', 'auth', 'private', 'affects', 'run'])
    if (typeof run !== 'function') throw new TypeError(`${where}: run is not a function`)
    if (args !== undefined) {
      for (const argument of declaredNames(args) ?? []) checkName(`${where}: argument`, argument)
    }
    const auth = flag(where, 'auth', declaredAuth)
    const mutation: Mutation = {
      name,
      schema: args ?? null,
      auth,
      private: flag(where, 'private', declaredPrivate),
      affects: affects.map((target) => this.#effect(where, auth, target)),
      run,
    }
    this.mutations.set(name, mutation)
    return mutation
  }

  #effect(where: string, auth: boolean, target: string | Affected<object, boolean>): Effect {
    const affected = (typeof target === 'string' ? { context: target } : target) as AnyAffected
    const { context: name, params, user } = readMembers(`${where}: affects`, affected, ['context', 'params', 'user'])
    const context = this.contexts.get(name) ?? this.#functions.get(name)
    if (context === undefined) {
      throw new TypeError(`${where}: affects ${JSON.stringify(name)}, which is not a registered context or function`)
    }
    if (typeof params === 'object') {
      const stranger = Object.keys(params).find((name) => !context.parameters.names.includes(name))
      if (stranger !== undefined) {
        throw new TypeError(`${where}: context ${context.name} has no parameter ${JSON.stringify(stranger)}`)
      }
    }
    if (user !== undefined && !context.auth) throw new TypeError(`${where}: context ${context.name} has no users`)
    if (user === 'self' && !auth) throw new TypeError(`${where}: user 'self' needs auth: true`)
    return { context, params, user }
  }
}

function normalised(
  where: string,
  value: ContextFunction<object, boolean, Identity> | FunctionDefinition<object, boolean, Identity>,
): { run: AnyContextFunction; rev: number; ttl: number | undefined; cache: boolean } {
  if (typeof value === 'function') return { run: value, rev: 0, ttl: undefined, cache: true }
  const { run, rev = 0, ttl, cache } = readMembers(where, value, ['run', 'rev', 'ttl', 'cache'])
  if (typeof run !== 'function') throw new TypeError(`${where}: run is not a function`)
  if (!Number.isSafeInteger(rev) || rev < 0) throw new TypeError(`${where}: rev is an integer from 0 to 2^53 − 1`)
  if (ttl !== undefined && !(typeof ttl === 'number' && ttl > 0 && ttl <= LONGEST_TTL)) {
    throw new TypeError(`${where}: ttl is a number of seconds above 0, at most ${LONGEST_TTL}`)
  }
  return { run, rev, ttl, cache: flag(where, 'cache', cache, true) }
}

function parameterNames(where: string, schema: ObjectSchema): string[] {
  const names = declaredNames(schema)
  if (names === null) {
    throw new TypeError(
      `${where}: its schema does not tell its members; zod and valibot objects do, and every Standard JSON Schema of an object`,
    )
  }
  for (const name of names) checkName(`${where}: parameter`, name)
  return names.sort(compareCodePoints)
}

function checkName(what: string, name: string): void {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new TypeError(
      `${what} ${JSON.stringify(name)}: names are in snake_case, a letter first, at most 128 characters`,
    )
  }
}

function refuseKnown(what: string, name: string, known: ReadonlyMap<string, unknown>): void {
  if (known.has(name)) throw new TypeError(`there is a ${what} ${JSON.stringify(name)} already`)
}

/** A misspelt member, `Auth` for `auth`, would otherwise make a public context of a private one. */
function readMembers<Definition extends object, Name extends keyof Definition & string>(
  where: string,
  definition: Definition,
  known: readonly Name[],
): Pick<Definition, Name> {
  const stranger = Object.keys(definition).find((name) => !known.includes(name as Name))
  if (stranger !== undefined)
    throw new TypeError(`${where}: ${JSON.stringify(stranger)} is not one of ${known.join(', ')}`)
  return pick(definition, known)
}

function flag(where: string, name: string, value: boolean | undefined, otherwise = false): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw new TypeError(`${where}: ${name} is true or false`)
  return value ?? otherwise
}
