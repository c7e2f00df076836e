/** The origin of the Mizan cache: contexts served from the cache, purged by the mutations that change them. */

export { identityFromEdge } from '../edge/identity.ts'
export type { MutationCaller, MutationOutcome, Origin, OriginLimits, OriginOptions } from './create-origin.ts'
export { createOrigin } from './create-origin.ts'
export type {
  Affected,
  ContextCall,
  ContextDefinition,
  ContextFunction,
  FunctionDefinition,
  Identity,
  MutationCall,
  MutationDefinition,
} from './definitions.ts'
export type { RequestHead } from './dispatch.ts'
export type { Load, LoadCall, LoadOptions } from './get-or-load.ts'
export { getOrLoad } from './get-or-load.ts'
export { HttpError } from './http-errors.ts'
export type { InvalidationTarget, ParsedTarget } from './invalidation-header.ts'
export { formatInvalidation, INVALIDATION_HEADER, parseInvalidation } from './invalidation-header.ts'
export type { Manifest, ManifestContext, ManifestMutation } from './manifest.ts'
export type { NodeRequest, NodeResponse } from './node-handler.ts'
export type { LookupResult, OriginCache, Params, ParamValue, Scope, UserId } from './origin-cache.ts'
export type { Scalar } from './scalar.ts'
export type { Input, NoParameters, ObjectSchema, Output } from './standard-schema.ts'
