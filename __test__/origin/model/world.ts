/** Random worlds for the comparison with a model: what an origin serves, described so that two processes can build it. */

import * as v from 'valibot'
import { z } from 'zod'
import {
  type Affected,
  HttpError,
  type Identity,
  type ObjectSchema,
  type Origin,
  type RequestHead,
} from '../../../origin/index.ts'

/** Kinds of parameters. The value that is meant differs from the text that is sent for all of them. */
export type Kind = 'integer' | 'lower_case' | 'optional' | 'defaulted'

export interface PlannedContext {
  readonly name: string
  readonly auth: boolean
  readonly vendor: 'zod' | 'valibot'
  readonly params: readonly Kind[]
  readonly functions: readonly { readonly name: string; readonly rev: number }[]
}

/** One context that a mutation changes. */
export interface PlannedTarget {
  readonly context: string
  /** The function whose data are changed; null for all of the context. */
  readonly fn: string | null
  readonly mapping: 'same_names' | 'record' | 'function'
  /** The parameters for which there is an argument; entries with any value of the others are changed too. */
  readonly told: readonly Kind[]
  readonly user: 'self' | 'owner' | null
}

export interface PlannedMutation {
  readonly name: string
  readonly auth: boolean
  readonly private: boolean
  readonly vendor: 'zod' | 'valibot'
  readonly targets: readonly PlannedTarget[]
  /** Refuses before it changes anything, or fails after it has. */
  readonly fails: 'never' | 'before' | 'after'
}

export interface Plan {
  readonly contexts: readonly PlannedContext[]
  readonly mutations: readonly PlannedMutation[]
}

export type Value = string | number

/** What a mutation changes: entries of a context with these parameters, of this user; of any where it does not say. */
export interface Write {
  readonly context: string
  readonly fn: string | null
  readonly match: Readonly<Partial<Record<Kind, Value>>>
  readonly user: Value | null
}

export interface Database {
  /** How often what a function reads was changed. */
  read(
    fn: string,
    context: string,
    params: Readonly<Partial<Record<Kind, Value>>>,
    user: Value | null,
  ): number | Promise<number>
  write(writes: readonly Write[]): void | Promise<void>
}

/** How functions are named whose context must not be cached. */
const CLOCK = '_clock'

export class LocalDatabase implements Database {
  readonly #writes: Write[] = []
  #time = 0

  read(fn: string, context: string, params: Readonly<Partial<Record<Kind, Value>>>, user: Value | null): number {
    const writes = this.#writes.filter(
      (write) =>
        write.context === context &&
        (write.fn === null || write.fn === fn) &&
        (write.user === null || write.user === user) &&
        Object.entries(write.match).every(([kind, value]) => params[kind as Kind] === value),
    ).length
    return fn.endsWith(CLOCK) ? writes + this.#time : writes
  }

  /** Changes what clocks show: data that no mutation tells of. */
  tick(): void {
    this.#time += 1
  }

  write(writes: readonly Write[]): void {
    this.#writes.push(...writes)
  }
}

/** Random choices that a seed repeats (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }

  chance(percent: number): boolean {
    return this.below(100) < percent
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new RangeError('nothing to pick from')
    return item
  }

  some<Item>(items: readonly Item[], percent: number): Item[] {
    return items.filter(() => this.chance(percent))
  }
}

const KINDS: readonly Kind[] = ['integer', 'lower_case', 'optional', 'defaulted']

export function makePlan(random: Random): Plan {
  const contexts = Array.from({ length: 2 + random.below(3) }, (_, index): PlannedContext => {
    const name = `context_${index}`
    return {
      name,
      auth: random.chance(50),
      vendor: random.pick(['zod', 'valibot']),
      params: random.some(KINDS, 40),
      functions: Array.from({ length: 1 + random.below(2) }, (_, number) => ({
        name: `${name}_function_${number}${random.chance(5) ? CLOCK : ''}`,
        rev: random.below(3),
      })),
    }
  })
  const mutations = Array.from({ length: 6 }, (_, index): PlannedMutation => {
    const auth = random.chance(50)
    const sameNames = random.some(KINDS, 70)
    const target = () => makeTarget(random, random.pick(contexts), auth, sameNames)
    return {
      name: `mutation_${index}`,
      auth,
      private: random.chance(20),
      vendor: random.pick(['zod', 'valibot']),
      targets: Array.from({ length: 1 + random.below(2) }, target),
      fails: random.pick(['never', 'never', 'never', 'never', 'before', 'after']),
    }
  })
  return { contexts, mutations }
}

function makeTarget(random: Random, context: PlannedContext, auth: boolean, sameNames: readonly Kind[]): PlannedTarget {
  const mapping = random.pick(['same_names', 'record', 'function'] as const)
  const mapped = random.chance(60) ? context.params : random.some(context.params, 60)
  return {
    context: context.name,
    fn: random.chance(30) ? random.pick(context.functions).name : null,
    mapping,
    told: mapping === 'same_names' ? context.params.filter((kind) => sameNames.includes(kind)) : mapped,
    user: context.auth ? random.pick(auth ? ['self', 'owner', null] : ['owner', null]) : null,
  }
}

/** The argument of a mutation that tells a parameter. */
export function argumentFor(target: PlannedTarget, kind: Kind): string {
  return target.mapping === 'same_names' ? kind : `the_${kind}`
}

/** The value that is meant by what was sent, also when nothing was. */
export function meant(kind: Kind, sent: Value | undefined): Value | undefined {
  if (sent === undefined) return kind === 'defaulted' ? 10 : undefined
  return kind === 'lower_case' ? String(sent).toLowerCase() : Number(sent)
}

/** Builds the planned origin over a database. */
export function build(origin: Origin<Identity>, plan: Plan, database: Database, random: Random): Map<string, Caller> {
  const authOf = new Map(plan.contexts.map(({ name, auth }) => [name, auth]))
  for (const context of plan.contexts) {
    const run = (fn: string) => async (params: object, call: object) => {
      const user = (call as { identity?: Identity }).identity?.id ?? null
      const version = await database.read(fn, context.name, params, user as Value | null)
      await pause(random)
      return { params, user, version }
    }
    const functions = Object.fromEntries(
      context.functions.map(({ name, rev }) => [name, { run: run(name), rev, cache: !name.endsWith(CLOCK) }] as const),
    )
    origin.context(context.name, { params: paramsSchema(context), auth: context.auth, functions })
  }
  return new Map(plan.mutations.map((mutation) => [mutation.name, buildMutation(origin, mutation, authOf, database)]))
}

/** Users by the header that names them; one has an integer for an id. */
export const USERS: Readonly<Record<string, Identity>> = { ann: { id: 'ann' }, bob: { id: 'bob' }, seven: { id: 7 } }

export function authenticate(request: RequestHead): Identity | null {
  return USERS[request.headers.get('x-user') ?? ''] ?? null
}

/** Takes some turns of the event loop, so that loads and mutations overlap. */
export async function pause(random: Random): Promise<void> {
  for (let turns = random.chance(20) ? 20 : random.below(3); turns > 0; turns--)
    await new Promise((resolve) => setImmediate(resolve))
}

/** Calls a mutation as the server's own code does. */
export type Caller = (args: object, identity: Identity | null) => Promise<unknown>

function buildMutation(
  origin: Origin<Identity>,
  planned: PlannedMutation,
  authOf: ReadonlyMap<string, boolean>,
  database: Database,
): Caller {
  const caller = origin.mutation(planned.name, {
    args: argsSchema(planned),
    auth: planned.auth,
    private: planned.private,
    affects: planned.targets.map(
      (target) => affected(target, authOf.get(target.context) === true) as Affected<object, boolean>,
    ),
    run: async (args, call) => {
      if (planned.fails === 'before') throw new HttpError(409, 'refused', 'Refused.')
      const identity = (call as { identity?: Identity }).identity ?? null
      await database.write(writesOf(planned, args, identity))
      if (planned.fails === 'after') throw new Error('failed after the commit')
      return 'done'
    },
  })
  return (args, identity) => (caller as (args: object, call?: object) => Promise<unknown>)(args, { identity })
}

function affected(target: PlannedTarget, contextAuth: boolean): object {
  const sources = target.told.map((kind) => [kind, argumentFor(target, kind)] as const)
  const params =
    target.mapping === 'same_names'
      ? {}
      : target.mapping === 'record'
        ? { params: Object.fromEntries(sources) }
        : {
            params: (args: Record<string, Value>) =>
              Object.fromEntries(sources.map(([kind, source]) => [kind, args[source]])),
          }
  const user = target.user === 'owner' ? (args: { owner?: Value }) => args.owner : target.user
  return { context: target.fn ?? target.context, ...params, ...(contextAuth && user !== null ? { user } : {}) }
}

/** What a mutation changes, said without any notion of a cache. */
function writesOf(mutation: PlannedMutation, args: object, identity: Identity | null): Write[] {
  const given = args as Readonly<Record<string, Value | undefined>>
  return mutation.targets.map((target) => {
    const told = target.told.flatMap((kind) => {
      const value = given[argumentFor(target, kind)]
      return value === undefined ? [] : [[kind, meant(kind, value)] as const]
    })
    const user = target.user === 'self' ? identity?.id : target.user === 'owner' ? given.owner : null
    return {
      context: target.context,
      fn: target.fn,
      match: Object.fromEntries(told),
      user: (user ?? null) as Value | null,
    }
  })
}

function paramsSchema({ vendor, params }: PlannedContext): ObjectSchema {
  if (vendor === 'zod') {
    const integer = z.coerce.number().int()
    const schemas = {
      integer,
      lower_case: z.string().toLowerCase(),
      optional: integer.optional(),
      defaulted: integer.default(10),
    }
    return z.looseObject(Object.fromEntries(params.map((kind) => [kind, schemas[kind]])))
  }
  const integer = v.pipe(v.string(), v.transform(Number), v.integer())
  const schemas = {
    integer,
    lower_case: v.pipe(v.string(), v.toLowerCase()),
    optional: v.optional(integer),
    defaulted: v.optional(integer, '10'),
  }
  return v.strictObject(Object.fromEntries(params.map((kind) => [kind, schemas[kind]])))
}

function argsSchema({ vendor, targets }: PlannedMutation): ObjectSchema {
  const names = targets.flatMap((target) => target.told.map((kind) => argumentFor(target, kind))).concat('owner')
  return vendor === 'zod'
    ? z.object(Object.fromEntries(names.map((name) => [name, z.union([z.string(), z.number()]).optional()])))
    : v.object(Object.fromEntries(names.map((name) => [name, v.optional(v.union([v.string(), v.number()]))])))
}
