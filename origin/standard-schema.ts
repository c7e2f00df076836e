import type { StandardJSONSchemaV1, StandardSchemaV1 } from '@standard-schema/spec'
import { pick } from '../common/pick.ts'
import { HttpError } from './http-errors.ts'
import { andThen, type MaybePromise } from './maybe-promise.ts'

/** A schema of an object, from any library that implements Standard Schema: zod, valibot, arktype and others. */
export type ObjectSchema = StandardSchemaV1<unknown, object>

/** The schema of a context or mutation that declares none. */
export type NoParameters = StandardSchemaV1<Record<never, never>, Record<never, never>>

/** What a caller passes to a schema. */
export type Input<Schema extends ObjectSchema> = StandardSchemaV1.InferInput<Schema>

/** What a schema makes of it. */
export type Output<Schema extends ObjectSchema> = StandardSchemaV1.InferOutput<Schema>

type Result =
  | { readonly value: Readonly<Record<string, unknown>>; readonly issues: null }
  | { readonly value: null; readonly issues: ReadonlyArray<StandardSchemaV1.Issue> }

interface Validated {
  value?: unknown
  issues?: ReadonlyArray<StandardSchemaV1.Issue> | undefined
}

/** Runs a schema. An output that is not an object is a defect of the schema. */
export function check(schema: ObjectSchema, input: unknown): MaybePromise<Result> {
  return andThen(schema['~standard'].validate(input), (result: Validated) => {
    // As `pick` alone would, in a fraction of its time.
    const isInherited = 'value' in Object.prototype || 'issues' in Object.prototype
    const { value, issues } = isInherited ? pick(result, ['value', 'issues']) : result
    if (issues !== undefined) return { value: null, issues }
    if (typeof value !== 'object' || value === null) {
      throw new TypeError('the output of a schema of parameters or arguments must be an object')
    }
    return { value: value as Readonly<Record<string, unknown>>, issues: null }
  })
}

/** Runs a schema; what it refuses is answered with 422 and the schema's own issues. */
export function validated(
  schema: ObjectSchema,
  input: unknown,
  code: string,
): MaybePromise<Readonly<Record<string, unknown>>> {
  return andThen(check(schema, input), (result) => {
    if (result.issues === null) return result.value
    throw new HttpError(422, code, MESSAGE, result.issues.map(describe))
  })
}

const MESSAGE = 'The schema refused what was given; details says why.'

function describe(issue: StandardSchemaV1.Issue): { path: (string | number)[]; message: string } {
  const path = (pick(issue, ['path']).path ?? []).map((segment) => {
    const key = typeof segment === 'object' ? segment.key : segment
    return typeof key === 'number' ? key : String(key)
  })
  return { path, message: issue.message }
}

/**
 * The names of the members that a schema declares, or null when it does not say.
 *
 * Standard Schema itself has no way to ask. zod keeps them in `shape`, valibot in `entries`, and libraries with
 * Standard JSON Schema (arktype, zod's transformed objects) in the properties of their JSON Schema.
 */
export function declaredNames(schema: ObjectSchema): string[] | null {
  const { shape, entries } = schema as { shape?: unknown; entries?: unknown }
  const members = asObject(shape) ?? asObject(entries) ?? jsonSchemaProperties(schema)
  return members === null ? null : Object.keys(members)
}

function jsonSchemaProperties(schema: ObjectSchema): object | null {
  const { jsonSchema } = schema['~standard'] as Partial<StandardJSONSchemaV1.Props>
  const described = jsonSchema?.input({ target: 'draft-2020-12' })
  return described === undefined ? null : asObject(described.properties)
}

function asObject(value: unknown): object | null {
  return typeof value === 'object' && value !== null ? value : null
}
